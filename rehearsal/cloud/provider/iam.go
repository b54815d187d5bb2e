package provider

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"eco2/rehearsal/cloud/aws"
)

const (
	// IAM's quotas: the characters of a role's trust policy, the characters of its inline policies together, both
	// without white space, and the number of managed policies attached to a role.
	trustPolicySize, inlinePolicySize, attachedPolicies = 2048, 10240, 10
)

// iamName validates a name of IAM, which has at most 64 characters for roles and 128 for everything else.
func iamName(length int) trait {
	return matching(fmt.Sprintf(`^[\w+=,.@-]{1,%d}$`, length), fmt.Sprintf("a name of 1 to %d letters, digits and _+=,.@-", length))
}

var role = spec{
	title: "IAM Role", service: "IAM", calls: calls{"CreateRole", "UpdateAssumeRolePolicy", "DeleteRole"},
	inputs: inputs{
		"name":                text(replaces, iamName(64)),
		"assumeRolePolicy":    document(required, valid(trustPolicy)),
		"description":         text(lengthBetween(0, 1000)),
		"forceDetachPolicies": flag(fallback(false)),
		"maxSessionDuration":  number(fallback(3600), between(3600, 43200)),
		"path":                text(replaces, fallback("/"), iamPath),
		"permissionsBoundary": text(),
		"tags":                ownTags,
	},
	outputs:  []string{"arn", "createDate", "inlinePolicies", "managedPolicyArns", "namePrefix", "uniqueId"},
	autoname: "name",
	create: func(c *call) error {
		name := c.obj.Text("name")
		other, err := c.Find("role", name)
		if err != nil {
			return err
		}
		if other != nil {
			return aws.Refuse("EntityAlreadyExists", "Role with name %s already exists.", name)
		}
		c.fill(aws.Object{"id": name, "arn": c.ARN("iam", "role"+c.obj.Text("path")+name), "createDate": now(),
			"uniqueId": newUniqueID("AROA"), "namePrefix": "", "inlinePolicies": []any{}, "managedPolicyArns": []any{}})
		return c.checkTrustPolicySize()
	},
	update: (*call).checkTrustPolicySize,
	remove: func(c *call) error {
		name := c.obj.ID()
		inlined, err := c.Where("rolePolicy", "role", name)
		if err != nil {
			return err
		}
		attached, err := c.Where("rolePolicyAttachment", "role", name)
		if err != nil {
			return err
		}
		profiles, err := c.Where("instanceProfile", "role", name)
		if err != nil {
			return err
		}
		conflict := func(message string, usedBy []string) error {
			return &aws.Error{Code: "DeleteConflict", Message: message, UsedBy: usedBy}
		}
		switch force := c.obj.Flag("forceDetachPolicies"); {
		case len(profiles) > 0:
			return conflict("Cannot delete entity, must remove roles from instance profile first.", ids("instance profile", profiles))
		case len(attached) > 0 && !force:
			return conflict("Cannot delete entity, must detach all policies first.", ids("attachment of", attached))
		case len(inlined) > 0 && !force:
			return conflict("Cannot delete entity, must delete policies first.", ids("policy", inlined))
		}
		if err := c.DropWhere("rolePolicy", "role", name); err != nil {
			return err
		}
		return c.DropWhere("rolePolicyAttachment", "role", name)
	},
}

func ids(what string, list []aws.Object) (out []string) {
	for _, o := range list {
		name := o.Text("name")
		if arn := o.Text("policyArn"); arn != "" {
			name = arn
		}
		out = append(out, what+" "+name)
	}
	return out
}

func (c *call) checkTrustPolicySize() error {
	if n := len(stripped(c.obj.Text("assumeRolePolicy"))); n > trustPolicySize {
		return aws.Refuse("LimitExceeded", "Cannot exceed quota for ACLSizePerRole: %d", trustPolicySize)
	}
	return nil
}

var rolePolicy = spec{
	title: "IAM Role Policy", service: "IAM", calls: calls{"PutRolePolicy", "PutRolePolicy", "DeleteRolePolicy"},
	inputs: inputs{
		"name":   text(replaces, iamName(128)),
		"role":   text(required, replaces),
		"policy": document(required, valid(identityPolicy)),
	},
	outputs:  []string{"namePrefix"},
	autoname: "name",
	create: func(c *call) error {
		c.fill(aws.Object{"id": c.obj.Text("role") + ":" + c.obj.Text("name"), "namePrefix": ""})
		return c.checkInlinePolicySize()
	},
	update: (*call).checkInlinePolicySize,
}

func (c *call) checkInlinePolicySize() error {
	name := c.obj.Text("role")
	if _, err := c.Require("role", name); err != nil {
		return err
	}
	policies, err := c.Where("rolePolicy", "role", name)
	if err != nil {
		return err
	}
	size := len(stripped(c.obj.Text("policy")))
	for _, o := range policies {
		if o.ID() != c.obj.ID() {
			size += len(stripped(o.Text("policy")))
		}
	}
	if size > inlinePolicySize {
		return aws.Refuse("LimitExceeded", "Maximum policy size of %d bytes exceeded for role %s", inlinePolicySize, name)
	}
	return nil
}

var rolePolicyAttachment = spec{
	title: "IAM Role Policy Attachment", service: "IAM", calls: calls{"AttachRolePolicy", "AttachRolePolicy", "DetachRolePolicy"},
	inputs: inputs{
		"role":      text(required, replaces),
		"policyArn": text(required, replaces, matching(`^arn:aws[a-z-]*:iam::(aws|[0-9]{12}):policy/.+$`, "the ARN of a policy")),
	},
	create: func(c *call) error {
		name, arn := c.obj.Text("role"), c.obj.Text("policyArn")
		if _, err := c.Require("role", name); err != nil {
			return err
		}
		if !aws.IsManagedPolicy(arn) { // the model does not support customer managed policies
			return aws.Refuse("NoSuchEntity", "Policy %s does not exist or is not attachable.", arn)
		}
		others, err := c.Where("rolePolicyAttachment", "role", name)
		if err != nil {
			return err
		}
		if len(others) >= attachedPolicies {
			return aws.Refuse("LimitExceeded", "Cannot exceed quota for PoliciesPerRole: %d", attachedPolicies)
		}
		// The provider generates this ID: the role and 26 digits.
		c.fill(aws.Object{"id": name + "-" + randomFrom("0123456789", 26)})
		return nil
	},
}

var instanceProfile = spec{
	title: "IAM Instance Profile", service: "IAM",
	calls: calls{"CreateInstanceProfile", "AddRoleToInstanceProfile", "DeleteInstanceProfile"},
	inputs: inputs{
		"name": text(replaces, iamName(128)),
		"path": text(replaces, fallback("/"), iamPath),
		"role": text(),
		"tags": ownTags,
	},
	outputs:  []string{"arn", "createDate", "namePrefix", "uniqueId"},
	autoname: "name",
	create: func(c *call) error {
		name := c.obj.Text("name")
		other, err := c.Find("instanceProfile", name)
		if err != nil {
			return err
		}
		if other != nil {
			return aws.Refuse("EntityAlreadyExists", "Instance Profile %s already exists.", name)
		}
		c.fill(aws.Object{"id": name, "arn": c.ARN("iam", "instance-profile"+c.obj.Text("path")+name), "createDate": now(),
			"uniqueId": newUniqueID("AIPA"), "namePrefix": ""})
		return c.checkProfileRole()
	},
	update: (*call).checkProfileRole,
}

func (c *call) checkProfileRole() error {
	name := c.obj.Text("role")
	if name == "" {
		return nil
	}
	_, err := c.Require("role", name)
	var refused *aws.Error
	if errors.As(err, &refused) {
		refused.Operation = "AddRoleToInstanceProfile"
	}
	return err
}

var iamPath = matching(`^/([!-~]+/)?$`, `a path that begins and ends with a slash`)

// now returns the time in the format of IAM's createDate.
func now() string { return time.Now().UTC().Format(time.RFC3339) }

var white = regexp.MustCompile(`\s`)

func stripped(s string) string { return white.ReplaceAllString(s, "") }

// statement holds the elements of a policy statement that the model checks.
type statement struct {
	Effect, Action, NotAction, Resource, NotResource, Principal, NotPrincipal any
}

// oneOrMore is a policy's Statement, which in JSON is a single statement or a list.
type oneOrMore []statement

// UnmarshalJSON implements json.Unmarshaler.
func (o *oneOrMore) UnmarshalJSON(data []byte) error {
	if strings.HasPrefix(strings.TrimSpace(string(data)), "[") {
		return json.Unmarshal(data, (*[]statement)(o))
	}
	var one statement
	if err := json.Unmarshal(data, &one); err != nil {
		return err
	}
	*o = oneOrMore{one}
	return nil
}

func statements(doc string) (oneOrMore, string) {
	var policy struct {
		Version   string
		Statement oneOrMore
	}
	if err := json.Unmarshal([]byte(doc), &policy); err != nil {
		return nil, fmt.Sprintf("contains an invalid JSON policy: %s", err)
	}
	if policy.Version != "" && policy.Version != "2012-10-17" && policy.Version != "2008-10-17" {
		return nil, "MalformedPolicyDocument: The policy is not in the valid JSON format: Version " + policy.Version
	}
	if len(policy.Statement) == 0 {
		return nil, "MalformedPolicyDocument: The policy must have at least one statement."
	}
	for _, s := range policy.Statement {
		switch {
		case s.Effect != "Allow" && s.Effect != "Deny":
			return nil, "MalformedPolicyDocument: Syntax errors in policy: Effect must be Allow or Deny."
		case empty(s.Action) && empty(s.NotAction):
			return nil, "MalformedPolicyDocument: Policy statement must contain actions."
		}
	}
	return policy.Statement, ""
}

// identityPolicy validates a policy that grants permissions to a role.
func identityPolicy(doc string) string {
	list, reason := statements(doc)
	for _, s := range list {
		switch {
		case empty(s.Resource) && empty(s.NotResource):
			return "MalformedPolicyDocument: Policy statement must contain resources."
		case !empty(s.Principal) || !empty(s.NotPrincipal):
			return "MalformedPolicyDocument: Policy document should not specify a principal."
		}
	}
	return reason
}

// trustPolicy validates a policy that says who may assume a role.
func trustPolicy(doc string) string {
	list, reason := statements(doc)
	for _, s := range list {
		switch {
		case !empty(s.Resource) || !empty(s.NotResource):
			return "MalformedPolicyDocument: Has prohibited field Resource"
		case empty(s.Principal) && empty(s.NotPrincipal):
			return "MalformedPolicyDocument: AssumeRole policy must contain principals"
		}
	}
	return reason
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}
