package provider

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/engine/plugin"
)

// imageFilters returns an image's value for each of EC2's filters.
var imageFilters = map[string]func(i aws.Image, id string) string{
	"architecture":        func(i aws.Image, _ string) string { return i.Architecture },
	"hypervisor":          func(aws.Image, string) string { return "xen" },
	"image-id":            func(_ aws.Image, id string) string { return id },
	"image-type":          func(aws.Image, string) string { return "machine" },
	"is-public":           func(aws.Image, string) string { return "true" },
	"name":                func(i aws.Image, _ string) string { return i.Name },
	"owner-id":            func(i aws.Image, _ string) string { return i.OwnerID },
	"root-device-type":    func(aws.Image, string) string { return "ebs" },
	"state":               func(aws.Image, string) string { return "available" },
	"virtualization-type": func(aws.Image, string) string { return "hvm" },
	"ena-support":         func(aws.Image, string) string { return "true" },
	"creation-date":       func(i aws.Image, _ string) string { return i.CreationDate },
}

// getAmi implements the function aws.ec2.getAmi: it returns the newest image that matches all filters, or with
// mostRecent unset the only one.
func (c *cloud) getAmi(_ context.Context, args resource.PropertyMap) (resource.PropertyMap, []plugin.Failure, error) {
	in, failures := inputs{
		"owners":            texts(),
		"filters":           list(inputs{"name": text(required), "values": texts(required)}),
		"mostRecent":        flag(fallback(false)),
		"includeDeprecated": flag(fallback(false)),
		"nameRegex":         text(),
	}.check("aws:ec2/getAmi:getAmi", "", args)
	if len(failures) > 0 {
		return nil, failures, nil
	}
	query := aws.Object(in.Mappable())
	region := c.settings.Load().region
	var found []aws.Image
	err := c.account.View(region, func(t aws.Tx) error {
		list, err := t.Images()
		for _, i := range list {
			ok, merr := matches(i, i.In(region), query)
			if merr != nil {
				return merr
			}
			if ok {
				found = append(found, i)
			}
		}
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("reading EC2 AMIs: %w", err)
	}
	if len(found) == 0 {
		return nil, nil, fmt.Errorf("Your query returned no results. Please change your search criteria and try again.") //nolint:staticcheck,revive // the provider's message
	}
	if len(found) > 1 && !query.Flag("mostRecent") {
		return nil, nil, fmt.Errorf("Your query returned more than one result. Please try a more specific search criteria, or set `most_recent` attribute to true.") //nolint:staticcheck,revive // the provider's message
	}
	newest := slices.MaxFunc(found, func(a, b aws.Image) int { return cmp.Compare(a.CreationDate, b.CreationDate) })
	return result(newest, region, in), nil, nil
}

func matches(i aws.Image, id string, query aws.Object) (bool, error) {
	if owners := query.Texts("owners"); len(owners) > 0 && !slices.Contains(owners, i.OwnerID) {
		return false, nil
	}
	if pattern := query.Text("nameRegex"); pattern != "" {
		re, err := regexp.Compile(pattern)
		if err != nil {
			return false, fmt.Errorf("reading nameRegex: %w", err)
		}
		if !re.MatchString(i.Name) {
			return false, nil
		}
	}
	for _, f := range query.Objects("filters") {
		value, ok := imageFilters[f.Text("name")]
		if !ok {
			return false, fmt.Errorf("operation error EC2: DescribeImages, %w", aws.Refuse("InvalidParameterValue", "The filter '%s' is invalid", f.Text("name")))
		}
		if !slices.ContainsFunc(f.Texts("values"), func(glob string) bool { return globMatches(glob, value(i, id)) }) {
			return false, nil
		}
	}
	return true, nil
}

// globMatches reports whether a value matches an EC2 filter. There * and ? match slashes too, and no other character is
// special.
func globMatches(glob, s string) bool {
	hide := strings.NewReplacer("/", "\x00", "[", `\[`, `\`, `\\`)
	ok, err := path.Match(hide.Replace(glob), strings.ReplaceAll(s, "/", "\x00"))
	return ok && err == nil
}

// result returns the outputs of getAmi, with all fields that the SDK reads.
func result(i aws.Image, region string, in resource.PropertyMap) resource.PropertyMap {
	id := i.In(region)
	out := in.Copy()
	out["id"] = resource.NewStringProperty(id)
	for key, v := range map[string]any{
		"imageId": id, "arn": fmt.Sprintf("arn:aws:ec2:%s::image/%s", region, id), "name": i.Name, "ownerId": i.OwnerID,
		"architecture": i.Architecture, "creationDate": i.CreationDate, "description": "", "state": "available",
		"bootMode": "uefi-preferred", "deprecationTime": "", "enaSupport": true, "hypervisor": "xen",
		"imageLocation": i.OwnerID + "/" + i.Name, "imageOwnerAlias": "", "imageType": "machine", "imdsSupport": "v2.0",
		"kernelId": "", "lastLaunchedTime": "", "platform": "", "platformDetails": "Linux/UNIX", "productCodes": []any{},
		"public": true, "ramdiskId": "", "rootDeviceName": rootDevice, "rootDeviceType": "ebs", "rootSnapshotId": i.Snapshot(region),
		"sriovNetSupport": "simple", "stateReason": map[string]any{"code": "UNSET", "message": "UNSET"}, "tags": map[string]any{},
		"tpmSupport": "", "usageOperation": "RunInstances", "virtualizationType": "hvm",
		"blockDeviceMappings": []any{map[string]any{"deviceName": rootDevice, "noDevice": "", "virtualName": "",
			"ebs": map[string]any{"delete_on_termination": "true", "encrypted": "false", "iops": "0", "snapshot_id": i.Snapshot(region),
				"throughput": "0", "volume_size": fmt.Sprint(i.RootGiB), "volume_type": "gp3"}}},
	} {
		out[resource.PropertyKey(key)] = resource.NewPropertyValue(v)
	}
	return out
}
