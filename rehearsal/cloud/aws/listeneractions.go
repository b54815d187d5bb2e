package aws

import (
	"strconv"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// HostCondition matches requests for any of these host names, which may begin with "*.".
func HostCondition(names ...string) elb.RuleCondition {
	field := "host-header"
	return elb.RuleCondition{Field: &field, HostHeaderConfig: &elb.HostHeaderConditionConfig{Values: names}}
}

// PathCondition matches requests for any of these paths, which may end with "*".
func PathCondition(paths ...string) elb.RuleCondition {
	field := "path-pattern"
	return elb.RuleCondition{Field: &field, PathPatternConfig: &elb.PathPatternConditionConfig{Values: paths}}
}

// ForwardTo forwards requests to a target group.
func ForwardTo(arn string) []elb.Action {
	return []elb.Action{{Type: elb.ActionTypeEnumForward, TargetGroupArn: &arn}}
}

// RedirectTo redirects clients permanently to the same URL with HTTPS and this port.
func RedirectTo(port int) []elb.Action {
	protocol, number := "HTTPS", strconv.Itoa(port)
	host, path, query := "#{host}", "/#{path}", "#{query}"
	return []elb.Action{{Type: elb.ActionTypeEnumRedirect, RedirectConfig: &elb.RedirectActionConfig{
		Protocol: &protocol, Port: &number, Host: &host, Path: &path, Query: &query, StatusCode: elb.RedirectActionStatusCodeEnumHttp301,
	}}}
}

// RespondNotFound responds with status 404.
func RespondNotFound() []elb.Action {
	status, kind := "404", "text/plain"
	return []elb.Action{{Type: elb.ActionTypeEnumFixedResponse, FixedResponseConfig: &elb.FixedResponseActionConfig{
		StatusCode: &status, ContentType: &kind,
	}}}
}
