package aws

import (
	"fmt"
	"strings"
)

// ZoneLetters are the availability zones of each commercial region, as a new account sees them. They are listed in "AWS
// regions and availability zones" in AWS's documentation, which says that older accounts may see others.
var ZoneLetters = map[string]string{
	"af-south-1": "abc", "ap-east-1": "abc", "ap-east-2": "abc", "ap-northeast-1": "acd", "ap-northeast-2": "abcd",
	"ap-northeast-3": "abc", "ap-south-1": "abc", "ap-south-2": "abc", "ap-southeast-1": "abc", "ap-southeast-2": "abc",
	"ap-southeast-3": "abc", "ap-southeast-4": "abc", "ap-southeast-5": "abc", "ap-southeast-6": "abc",
	"ap-southeast-7": "abc", "ca-central-1": "abd", "ca-west-1": "abc", "eu-central-1": "abc", "eu-central-2": "abc",
	"eu-north-1": "abc", "eu-south-1": "abc", "eu-south-2": "abc", "eu-west-1": "abc", "eu-west-2": "abc",
	"eu-west-3": "abc", "il-central-1": "abc", "me-central-1": "abc", "me-south-1": "abc", "mx-central-1": "abc",
	"sa-east-1": "abc", "us-east-1": "abcdef", "us-east-2": "abc", "us-west-1": "ac", "us-west-2": "abcd",
}

// ZonesOf lists the availability zones of a region.
func ZonesOf(region string) (zones []string) {
	for _, l := range ZoneLetters[region] {
		zones = append(zones, region+string(l))
	}
	return zones
}

// Zone is an availability zone: its name in this account, and its ID, which is the same in all accounts.
type Zone struct{ Name, ID string }

// Zones lists the availability zones of a region.
func Zones(region string) (zones []Zone) {
	for i, name := range ZonesOf(region) {
		zones = append(zones, Zone{name, fmt.Sprintf("%s-az%d", ZonePrefix(region), i+1)})
	}
	return zones
}

// ZonePrefix abbreviates a region as zone IDs do: eu-central-1 is euc1, ap-southeast-2 is apse2.
func ZonePrefix(region string) string {
	parts := strings.Split(region, "-")
	if len(parts) != 3 {
		return strings.ReplaceAll(region, "-", "")
	}
	middle := parts[1][:1]
	for _, second := range []string{"east", "west"} {
		if rest, ok := strings.CutSuffix(parts[1], second); ok && rest != "" {
			middle = rest[:1] + second[:1]
		}
	}
	return parts[0] + middle + parts[2]
}
