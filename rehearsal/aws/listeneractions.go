package aws

import (
	"strconv"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// ForHost is met by requests for one of some names, which may begin with "*.".
func ForHost(names ...string) elb.RuleCondition {
	field := "host-header"
	return elb.RuleCondition{Field: &field, HostHeaderConfig: &elb.HostHeaderConditionConfig{Values: names}}
}

// ForPath is met by requests for one of some paths, which may end with "*".
func ForPath(paths ...string) elb.RuleCondition {
	field := "path-pattern"
	return elb.RuleCondition{Field: &field, PathPatternConfig: &elb.PathPatternConditionConfig{Values: paths}}
}

// ForwardTo sends requests to a target group.
func ForwardTo(arn string) []elb.Action {
	return []elb.Action{{Type: elb.ActionTypeEnumForward, TargetGroupArn: &arn}}
}

// RedirectTo sends clients to HTTPS at a port.
func RedirectTo(port int) []elb.Action {
	protocol, number := "HTTPS", strconv.Itoa(port)
	host, path, query := "#{host}", "/#{path}", "#{query}"
	return []elb.Action{{Type: elb.ActionTypeEnumRedirect, RedirectConfig: &elb.RedirectActionConfig{
		Protocol: &protocol, Port: &number, Host: &host, Path: &path, Query: &query, StatusCode: elb.RedirectActionStatusCodeEnumHttp301,
	}}}
}

// NotFound answers with 404.
func NotFound() []elb.Action {
	status, kind := "404", "text/plain"
	return []elb.Action{{Type: elb.ActionTypeEnumFixedResponse, FixedResponseConfig: &elb.FixedResponseActionConfig{
		StatusCode: &status, ContentType: &kind,
	}}}
}
