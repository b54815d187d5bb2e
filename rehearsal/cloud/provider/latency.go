package provider

import (
	"strings"
	"time"
)

// Op is an operation on a resource, as far as its duration is concerned.
type Op string

// The operations. Restart is an update that stops and starts an instance, Retag an update of nothing but tags.
const (
	Create  Op = "create"
	Update  Op = "update"
	Delete  Op = "delete"
	Restart Op = "restart"
	Retag   Op = "retag"
)

// latencies are the provider's typical durations in a quiet region, including its own polling. They are orders of
// magnitude, for planning and for finding the critical path, not measurements of one account.
var latencies = map[string]map[Op]time.Duration{
	// A create waits for "available", and enables DNS host names with a second call whose effect it polls for.
	"vpc": {Create: 12 * time.Second, Update: 11 * time.Second, Delete: time.Second},
	// Attaching and detaching are polled; a detach comes before each delete.
	"internetGateway": {Create: time.Second, Update: 2 * time.Second, Delete: 1500 * time.Millisecond},
	// mapPublicIpOnLaunch is a second call, and the provider polls for it with a 10 s delay.
	"subnet":                {Create: 11 * time.Second, Update: 11 * time.Second, Delete: time.Second},
	"routeTable":            {Create: time.Second, Update: time.Second, Delete: time.Second},
	"route":                 {Create: time.Second, Update: time.Second, Delete: time.Second},
	"routeTableAssociation": {Create: time.Second, Update: time.Second, Delete: time.Second},
	// A create reads the group back until it is visible and revokes the default egress rule.
	"securityGroup":            {Create: 2 * time.Second, Update: time.Second, Delete: time.Second},
	"securityGroupIngressRule": {Create: time.Second, Update: time.Second, Delete: time.Second},
	"securityGroupEgressRule":  {Create: time.Second, Update: time.Second, Delete: time.Second},
	"keyPair":                  {Create: 500 * time.Millisecond, Update: 500 * time.Millisecond, Delete: 500 * time.Millisecond},
	// IAM is a global service: each call is short, and its effect is eventually visible.
	"role":                 {Create: time.Second, Update: time.Second, Delete: time.Second},
	"rolePolicy":           {Create: 500 * time.Millisecond, Update: 500 * time.Millisecond, Delete: 500 * time.Millisecond},
	"rolePolicyAttachment": {Create: 500 * time.Millisecond, Delete: 500 * time.Millisecond},
	// The provider waits until the profile with its role is visible to EC2.
	"instanceProfile": {Create: 7 * time.Second, Update: 2 * time.Second, Delete: time.Second},
	// pending → running in one poll after 10 s; shutting-down → terminated takes two or three;
	// stop, modify and start are three such waits.
	"instance": {Create: 13 * time.Second, Update: 2 * time.Second, Restart: 60 * time.Second, Delete: 40 * time.Second},
	// The provider looks at a new volume every few seconds. An attachment waits twice for 10 s: for the instance, and for
	// the volume. A volume's delete is polled too.
	"volume": {Create: 12 * time.Second, Update: 12 * time.Second, Delete: 11 * time.Second},
	// The provider looks at a new snapshot every 15 s until it is complete, which for the first one of a small disk takes
	// about a minute.
	"snapshot":              {Create: 60 * time.Second, Update: time.Second, Delete: time.Second},
	"lifecyclePolicy":       {Create: time.Second, Update: time.Second, Delete: time.Second},
	"volumeAttachment":      {Create: 21 * time.Second, Delete: 11 * time.Second},
	"subnetCidrReservation": {Create: time.Second, Delete: time.Second},
	"eip":                   {Create: time.Second, Update: time.Second, Delete: time.Second},
	"eipAssociation":        {Create: time.Second, Delete: time.Second},
	"parameter":             {Create: 500 * time.Millisecond, Update: 500 * time.Millisecond, Delete: 500 * time.Millisecond},
	// The request is quick; the certificate's validation records appear a few seconds later.
	"certificate": {Create: 3 * time.Second, Update: time.Second, Delete: time.Second},
	// ACM checks for the records periodically, which takes half a minute to several minutes.
	"certificateValidation": {Create: 45 * time.Second},
	// Route 53 reports INSYNC when all its name servers have the change; the provider waits for that.
	"record": {Create: 35 * time.Second, Update: 35 * time.Second, Delete: 35 * time.Second},
}

// retag is the duration of Retag for any type: one call that sets the tags and one that reads them back.
const retag = time.Second

// Latency returns how long an operation on a resource type takes at factor 1. The type is a token such as
// "aws:ec2/vpc:Vpc" or its short name, "vpc". It is 0 for an operation that takes no time and for a type that the model
// does not know.
func Latency(typ string, op Op) time.Duration {
	if op == Retag {
		return retag
	}
	return latencies[kindName(typ)][op]
}

// kindName shortens a type token to the kind under which its objects are stored.
func kindName(typ string) string {
	if _, rest, ok := strings.Cut(typ, "/"); ok {
		typ = rest
	}
	name, _, _ := strings.Cut(typ, ":")
	return name
}
