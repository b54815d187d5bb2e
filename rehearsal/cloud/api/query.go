package api

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// The services that speak AWS's Query protocol: requests are forms, responses are XML.
const (
	ec2Service = "ec2"
	elbService = "elasticloadbalancing"
)

// queryService is a service that speaks the Query protocol.
type queryService struct {
	version, namespace string
	wire               wire
	// throttled is its error code for too many requests.
	throttled  string
	operations map[string]queryOperation
}

var queryServices map[string]queryService

func init() { // an initializer of the variable would be an initialization cycle, as the operations refer to it
	queryServices = map[string]queryService{
		ec2Service: {
			version: "2016-11-15", namespace: "http://ec2.amazonaws.com/doc/2016-11-15/", wire: ec2Wire,
			throttled: "RequestLimitExceeded", operations: ec2Operations,
		},
		elbService: {
			version: "2015-12-01", namespace: "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/", wire: elbWire,
			throttled: "Throttling", operations: elbOperations,
		},
	}
}

// queryOperation is an operation with the SDK's input and output types.
type queryOperation struct {
	// known lists the parameters that the model supports, with dots between members: "Filters.Name". A parameter
	// includes all its members. Any other is rejected, as ignoring it could be wrong.
	known []string
	input func() any
	run   func(c *call, input any) (any, error)
}

// query returns an operation that supports the parameters in known, which are separated by spaces.
func query[In, Out any](run func(*call, *In) (*Out, error), known string) queryOperation {
	return queryOperation{
		known: strings.Fields(known),
		input: func() any { return new(In) },
		run: func(c *call, input any) (any, error) {
			out, err := run(c, input.(*In))
			if err != nil {
				return nil, err // not out, which would be a nil pointer in a non-nil interface
			}
			return out, nil
		},
	}
}

var ec2Operations = map[string]queryOperation{
	"CreateSecurityGroup":       query((*call).createSecurityGroup, "Description GroupName VpcId TagSpecifications"),
	"DescribeAvailabilityZones": query((*call).describeAvailabilityZones, "ZoneIds ZoneNames"),
	"DescribeInstances":         query((*call).describeInstances, "InstanceIds"),
	"DescribeRouteTables":       query((*call).describeRouteTables, "Filters"),
	"DescribeSecurityGroups":    query((*call).describeSecurityGroups, "Filters GroupIds"),
	"DescribeSubnets":           query((*call).describeSubnets, "Filters SubnetIds"),
	"DescribeVpcs":              query((*call).describeVPCs, "Filters VpcIds"),
}

var elbOperations = map[string]queryOperation{
	"AddListenerCertificates":        query((*call).addListenerCertificates, "ListenerArn Certificates.CertificateArn"),
	"AddTags":                        query((*call).addTags, "ResourceArns Tags"),
	"CreateListener":                 query((*call).createListener, "LoadBalancerArn Port Protocol SslPolicy Certificates.CertificateArn DefaultActions Tags"),
	"CreateLoadBalancer":             query((*call).createLoadBalancer, "Name Type Scheme IpAddressType Subnets SubnetMappings.SubnetId SecurityGroups Tags"),
	"CreateRule":                     query((*call).createRule, "ListenerArn Priority Conditions Actions Tags"),
	"CreateTargetGroup":              query((*call).createTargetGroup, "Name TargetType VpcId Tags "+targetSettings+healthSettings),
	"DeleteListener":                 query((*call).deleteListener, "ListenerArn"),
	"DeleteLoadBalancer":             query((*call).deleteLoadBalancer, "LoadBalancerArn"),
	"DeleteRule":                     query((*call).deleteRule, "RuleArn"),
	"DeleteTargetGroup":              query((*call).deleteTargetGroup, "TargetGroupArn"),
	"DeregisterTargets":              query((*call).deregisterTargets, "TargetGroupArn Targets.Id Targets.Port"),
	"DescribeListenerAttributes":     query((*call).describeListenerAttributes, "ListenerArn"),
	"DescribeListenerCertificates":   query((*call).describeListenerCertificates, "ListenerArn"),
	"DescribeListeners":              query((*call).describeListeners, "LoadBalancerArn ListenerArns"),
	"DescribeLoadBalancerAttributes": query((*call).describeLoadBalancerAttributes, "LoadBalancerArn"),
	"DescribeLoadBalancers":          query((*call).describeLoadBalancers, "LoadBalancerArns Names"),
	"DescribeRules":                  query((*call).describeRules, "ListenerArn"),
	"DescribeTags":                   query((*call).describeTags, "ResourceArns"),
	"DescribeTargetGroupAttributes":  query((*call).describeTargetGroupAttributes, "TargetGroupArn"),
	"DescribeTargetGroups":           query((*call).describeTargetGroups, "LoadBalancerArn Names TargetGroupArns"),
	"DescribeTargetHealth":           query((*call).describeTargetHealth, "TargetGroupArn Targets.Id Targets.Port"),
	"ModifyListener":                 query((*call).modifyListener, "ListenerArn Port Protocol SslPolicy Certificates.CertificateArn DefaultActions"),
	"ModifyLoadBalancerAttributes":   query((*call).modifyLoadBalancerAttributes, "LoadBalancerArn Attributes"),
	"ModifyRule":                     query((*call).modifyRule, "RuleArn Conditions Actions ResetTransforms"),
	"ModifyTargetGroup":              query((*call).modifyTargetGroup, "TargetGroupArn "+healthSettings),
	"ModifyTargetGroupAttributes":    query((*call).modifyTargetGroupAttributes, "TargetGroupArn Attributes"),
	"RegisterTargets":                query((*call).registerTargets, "TargetGroupArn Targets.Id Targets.Port"),
	"RemoveListenerCertificates":     query((*call).removeListenerCertificates, "ListenerArn Certificates.CertificateArn"),
	"RemoveTags":                     query((*call).removeTags, "ResourceArns TagKeys"),
	"SetRulePriorities":              query((*call).setRulePriorities, "RulePriorities"),
	"SetSecurityGroups":              query((*call).setSecurityGroups, "LoadBalancerArn SecurityGroups"),
	"SetSubnets":                     query((*call).setSubnets, "LoadBalancerArn Subnets SubnetMappings.SubnetId"),
}

const (
	targetSettings = "Protocol ProtocolVersion Port IpAddressType "
	healthSettings = "HealthCheckEnabled HealthCheckProtocol HealthCheckPort HealthCheckPath HealthCheckIntervalSeconds " +
		"HealthCheckTimeoutSeconds HealthyThresholdCount UnhealthyThresholdCount Matcher.HttpCode"
)

// query handles a request of the Query protocol.
func (c *call) query(body []byte) (any, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, refuse("MalformedQueryString", "%v", err)
	}
	action := form.Get("Action")
	service := queryServices[c.service]
	c.action = action
	operation, known := service.operations[action]
	if !known || form.Get("Version") != service.version {
		return nil, refuse("InvalidAction", "The action %s is not valid for this web service: the rehearsal's %s %s does not support it.", action, c.service, form.Get("Version"))
	}
	if f, hit := c.nextFailure(action); hit {
		return nil, refuse(cmp.Or(f.code, service.throttled), "A test makes %s fail", action)
	}
	input := operation.input()
	if err := service.wire.decode(form, input, operation.known); err != nil {
		return nil, err
	}
	return operation.run(c, input)
}

// forbidden lists the error codes that EC2 and Elastic Load Balancing return with status 403.
var forbidden = []string{"AccessDenied", "UnauthorizedOperation", "SignatureDoesNotMatch", "UnrecognizedClientException", "MissingAuthenticationTokenException"}

// writeQuery writes the response to a request of the Query protocol. Errors have the format of most services, except
// EC2's.
func writeQuery(w http.ResponseWriter, service, action string, answer any, err error) {
	w.Header().Set("Content-Type", "text/xml")
	const id = "00000000-0000-0000-0000-000000000000"
	if err != nil {
		status, r := errorResponse(err)
		if slices.Contains(forbidden, r.code) {
			status = http.StatusForbidden
		}
		w.WriteHeader(status)
		if service == ec2Service {
			answer = struct {
				XMLName   xml.Name `xml:"Response"`
				Code      string   `xml:"Errors>Error>Code"`
				Message   string   `xml:"Errors>Error>Message"`
				RequestID string
			}{Code: r.code, Message: r.message, RequestID: id}
		} else {
			answer = struct {
				XMLName   xml.Name `xml:"ErrorResponse"`
				Type      string   `xml:"Error>Type"`
				Code      string   `xml:"Error>Code"`
				Message   string   `xml:"Error>Message"`
				RequestID string   `xml:"RequestId"`
			}{Type: "Sender", Code: r.code, Message: r.message, RequestID: id}
		}
		_ = xml.NewEncoder(w).Encode(answer) // fails only if the caller has disconnected
		return
	}
	s := queryServices[service]
	text := s.wire.encode(answer)
	if service == ec2Service {
		text = "<requestId>" + id + "</requestId>" + text
	} else {
		text = fmt.Sprintf("<%sResult>%s</%[1]sResult><ResponseMetadata><RequestId>%s</RequestId></ResponseMetadata>", action, text, id)
	}
	_, _ = fmt.Fprintf(w, `<%sResponse xmlns=%q>%s</%[1]sResponse>`, action, s.namespace, text) // as above
}

// value returns what a pointer of the SDK points at, or the zero value for nil.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func pointer[T any](v T) *T { return &v }

// keys returns a map's keys, sorted.
func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
