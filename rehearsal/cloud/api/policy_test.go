package api

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/aws"
)

func TestPolicies(t *testing.T) {
	const bucket = "arn:aws:s3:::bucket/a"
	allow := func(more string) string {
		return `{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:Get*", "Resource": "arn:aws:s3:::bucket/*"` + more + `}}`
	}
	when := func(condition string) string { return allow(`, "Condition": {` + condition + `}`) }
	const unsupported = "because the rehearsal does not support all of policy test: "
	const nothing = "because no identity-based policy allows the s3:GetObject action"
	for name, test := range map[string]struct {
		policy  string
		context map[string][]string
		denial  string
	}{
		"action and resource with wildcards": {policy: allow("")},
		"actions in any case":                {policy: `{"Statement": [{"Effect": "Allow", "Action": ["x:y", "S3:getobject"], "Resource": "*"}]}`},
		"another action":                     {policy: `{"Statement": {"Effect": "Allow", "Action": "s3:Put*", "Resource": "*"}}`, denial: nothing},
		"another resource":                   {policy: `{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "arn:aws:s3:::bucket"}}`, denial: nothing},
		"all actions except this one":        {policy: `{"Statement": {"Effect": "Allow", "NotAction": "s3:Get*", "Resource": "*"}}`, denial: nothing},
		"all actions except another one":     {policy: `{"Statement": {"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}}`},
		"all resources except another one":   {policy: `{"Statement": {"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:s3:::other/*"}}`},
		"a deny in a later statement": {
			policy: `{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}, {"Effect": "Deny", "Action": "s3:GetObject", "Resource": "*"}]}`,
			denial: "with an explicit deny in an identity-based policy"},
		"a matching tag":               {policy: when(`"StringEquals": {"aws:RequestTag/k": ["u", "v"]}`), context: map[string][]string{"aws:RequestTag/k": {"v"}}},
		"a tag with another value":     {policy: when(`"StringEquals": {"aws:RequestTag/k": "v"}`), context: map[string][]string{"aws:RequestTag/k": {"w"}}, denial: nothing},
		"a missing tag":                {policy: when(`"StringEquals": {"aws:RequestTag/k": "v"}`), denial: nothing},
		"a tag that matches a pattern": {policy: when(`"StringLike": {"aws:RequestTag/k": "v*"}`), context: map[string][]string{"aws:RequestTag/k": {"v/1"}}},
		"two conditions, of which one holds": {policy: when(`"StringEquals": {"aws:RequestTag/a": "1", "aws:RequestTag/b": "1"}`),
			context: map[string][]string{"aws:RequestTag/a": {"1"}, "aws:RequestTag/b": {"2"}}, denial: nothing},
		"a required key that is set":         {policy: when(`"Null": {"aws:RequestTag/k": "false"}`), context: map[string][]string{"aws:RequestTag/k": {"v"}}},
		"a forbidden key that is set":        {policy: when(`"Null": {"aws:RequestTag/k": true}`), context: map[string][]string{"aws:RequestTag/k": {"v"}}, denial: nothing},
		"all values":                         {policy: when(`"ForAllValues:StringLike": {"aws:RequestTag/k": ["a*", "b"]}`), context: map[string][]string{"aws:RequestTag/k": {"a1", "b"}}},
		"all values, with no value":          {policy: when(`"ForAllValues:StringEquals": {"aws:RequestTag/k": "a"}`)},
		"not all values":                     {policy: when(`"ForAllValues:StringEquals": {"aws:RequestTag/k": "a"}`), context: map[string][]string{"aws:RequestTag/k": {"a", "b"}}, denial: nothing},
		"an ARN that matches a pattern":      {policy: when(`"ArnLike": {"aws:RequestTag/k": "arn:aws:ec2:*:*:vpc/*"}`), context: map[string][]string{"aws:RequestTag/k": {"arn:aws:ec2:r:1:vpc/v"}}},
		"an ARN pattern with a part too few": {policy: when(`"ArnEquals": {"aws:RequestTag/k": "arn:aws:ec2:*:vpc/*"}`), context: map[string][]string{"aws:RequestTag/k": {"arn:aws:ec2:r:1:vpc/v"}}, denial: nothing},
		"a boolean":                          {policy: when(`"Bool": {"aws:RequestTag/k": true}`), context: map[string][]string{"aws:RequestTag/k": {"true"}}},
		"an unsupported key, without which the condition would hold": {policy: when(`"ForAllValues:StringEquals": {"aws:TagKeys": "a"}`),
			denial: unsupported + "the condition key aws:TagKeys"},
		"an unsupported operator": {policy: when(`"IpAddress": {"aws:RequestTag/k": "10.0.0.0/8"}`),
			denial: unsupported + "the condition operator IpAddress"},
		"a variable": {policy: `{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "arn:aws:s3:::${aws:username}"}}`, denial: unsupported + "the variable in resource arn:aws:s3:::${aws:username}"},
		"the caller's tag": {policy: when(`"StringEquals": {"aws:RequestTag/k": "${aws:PrincipalTag/k}"}`),
			context: map[string][]string{"aws:RequestTag/k": {"v"}, "aws:PrincipalTag/k": {"v"}}},
		"a tag that differs from the caller's": {policy: when(`"StringEquals": {"aws:RequestTag/k": "${aws:PrincipalTag/k}"}`),
			context: map[string][]string{"aws:RequestTag/k": {"v"}, "aws:PrincipalTag/k": {"w"}}, denial: nothing},
		"a tag that neither request nor caller has":   {policy: when(`"StringEquals": {"aws:RequestTag/k": "${aws:PrincipalTag/k}"}`), denial: nothing},
		"a variable in a statement for other actions": {policy: `{"Statement": [{"Effect": "Allow", "Action": "x:*", "Resource": "${a}"}, {"Effect": "Allow", "Action": "*", "Resource": "*"}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := parsePolicy("test", test.policy)
			require.NoError(t, err)
			denial, by := grants{p}.evaluate(request{"s3:GetObject", bucket, test.context})
			assert.Equal(t, test.denial, denial)
			assert.Equal(t, denial == "", len(by) == 1)
		})
	}
	denial, _ := grants{}.evaluate(request{"s3:GetObject", bucket, nil})
	assert.Equal(t, nothing, denial)
	_, err := parsePolicy("broken", `{"Statement": {"Action": 1}}`)
	assert.ErrorContains(t, err, "reading policy broken: ")
}

func TestManagedPolicies(t *testing.T) {
	for arn, text := range managedPolicies {
		assert.True(t, aws.IsManagedPolicy(arn), "not an AWS managed policy: %s", arn)
		_, err := parsePolicy(arn, text)
		assert.NoError(t, err)
	}
}
