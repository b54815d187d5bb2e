package api

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// request is what policies are evaluated against: an action, a resource, and the values of condition keys. A key may
// have several values.
type request struct {
	action, resource string
	context          map[string][]string
}

// grants holds all policies of a role.
type grants []policyDocument

// policyDocument is an identity-based policy; its principal is the role that has it.
type policyDocument struct {
	name       string
	statements []policyStatement
}

type policyStatement struct {
	Effect                                   string
	Action, NotAction, Resource, NotResource oneOrMore
	// Condition maps operators to condition keys to values.
	Condition map[string]map[string]oneOrMore
}

// oneOrMore is a single JSON value or a list.
type oneOrMore []string

// UnmarshalJSON implements json.Unmarshaler. Conditions may have true for "true".
func (o *oneOrMore) UnmarshalJSON(data []byte) error {
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		return err
	}
	list, isList := value.([]any)
	if !isList {
		list = []any{value}
	}
	for _, v := range list {
		switch v.(type) {
		case string, bool:
			*o = append(*o, fmt.Sprint(v))
		default:
			return fmt.Errorf("%v is neither a string nor a boolean", v)
		}
	}
	return nil
}

func parsePolicy(name, text string) (policyDocument, error) {
	var document struct{ Statement json.RawMessage }
	p := policyDocument{name: name}
	if err := json.Unmarshal([]byte(text), &document); err != nil {
		return p, fmt.Errorf("reading policy %s: %w", name, err)
	}
	if !strings.HasPrefix(strings.TrimSpace(string(document.Statement)), "[") {
		document.Statement = slices.Concat([]byte("["), document.Statement, []byte("]"))
	}
	if err := json.Unmarshal(document.Statement, &p.statements); err != nil {
		return p, fmt.Errorf("reading policy %s: %w", name, err)
	}
	return p, nil
}

// statementRef identifies a statement of a policy.
type statementRef struct {
	policy string
	// at is the statement's index in the policy, from 0.
	at int
}

// evaluate returns why a request is denied, or "" and the statements that allow it. A statement with an element that is
// not supported here denies the requests that it might apply to, with a reason that says so, as allowing them could be
// wrong.
func (g grants) evaluate(r request) (denial string, by []statementRef) {
	for _, p := range g {
		for i, s := range p.statements {
			applies, err := s.applies(r)
			switch {
			case err != nil:
				return fmt.Sprintf("because the rehearsal does not support all of policy %s: %v", p.name, err), nil
			case applies && s.Effect == "Deny":
				return "with an explicit deny in an identity-based policy", nil
			case applies:
				by = append(by, statementRef{p.name, i})
			}
		}
	}
	if len(by) == 0 {
		return fmt.Sprintf("because no identity-based policy allows the %s action", r.action), nil
	}
	return "", by
}

func (s policyStatement) applies(r request) (bool, error) {
	// Actions are case-insensitive.
	action := func(pattern string) bool { return matches(strings.ToLower(pattern), strings.ToLower(r.action)) }
	resource := func(pattern string) bool { return matches(pattern, r.resource) }
	switch {
	case len(s.Action) > 0 && !slices.ContainsFunc(s.Action, action),
		len(s.NotAction) > 0 && slices.ContainsFunc(s.NotAction, action):
		return false, nil
	}
	for _, pattern := range slices.Concat(s.Resource, s.NotResource) {
		if strings.Contains(pattern, "${") {
			return false, fmt.Errorf("the variable in resource %s", pattern)
		}
	}
	switch {
	case len(s.Resource) > 0 && !slices.ContainsFunc(s.Resource, resource),
		len(s.NotResource) > 0 && slices.ContainsFunc(s.NotResource, resource):
		return false, nil
	}
	for operator, keys := range s.Condition {
		for key, wanted := range keys {
			if !conditionKey.MatchString(key) {
				return false, fmt.Errorf("the condition key %s", key)
			}
			holds, err := condition(operator, substitutePrincipalTags(wanted, r.context), r.context[key])
			if err != nil || !holds {
				return false, err
			}
		}
	}
	return true, nil
}

// conditionKey matches the condition keys for which the API has values. A condition with another key is not evaluated:
// without values, the operators Null and ForAllValues would hold although AWS has values for that key.
var conditionKey = regexp.MustCompile(`^(aws:(Request|Resource|Principal)Tag/.+` +
	`|ec2:(ResourceTag/.+|CreateAction)|elasticloadbalancing:CreateAction|iam:AWSServiceName` +
	`|route53:ChangeResourceRecordSets(Actions|NormalizedRecordNames|RecordTypes))$`)

// principalTag matches a policy variable for a tag of the caller.
var principalTag = regexp.MustCompile(`^\$\{(aws:PrincipalTag/[^}]+)\}$`)

// substitutePrincipalTags replaces policy variables with the caller's tags. A value whose tag does not exist matches
// nothing, so it is left out.
func substitutePrincipalTags(wanted []string, context map[string][]string) (values []string) {
	for _, w := range wanted {
		if tag := principalTag.FindStringSubmatch(w); tag != nil {
			values = append(values, context[tag[1]]...)
		} else {
			values = append(values, w)
		}
	}
	return values
}

// condition reports whether the values of a condition key satisfy one operator of a policy.
func condition(operator string, wanted, values []string) (bool, error) {
	for _, w := range wanted {
		if strings.Contains(w, "${") {
			return false, fmt.Errorf("the variable in condition %s %s", operator, w)
		}
	}
	if operator == "Null" {
		return slices.Contains(wanted, fmt.Sprint(len(values) == 0)), nil
	}
	name, forAll := strings.CutPrefix(operator, "ForAllValues:")
	var compare func(wanted, value string) bool
	switch name {
	case "StringEquals":
		compare = func(wanted, value string) bool { return wanted == value }
	case "StringLike":
		compare = matches
	case "ArnEquals", "ArnLike": // AWS treats these two the same
		compare = arnMatches
	case "Bool":
		compare = strings.EqualFold
	default:
		return false, fmt.Errorf("the condition operator %s", operator)
	}
	fits := func(value string) bool {
		return slices.ContainsFunc(wanted, func(w string) bool { return compare(w, value) })
	}
	if forAll {
		return !slices.ContainsFunc(values, func(v string) bool { return !fits(v) }), nil
	}
	return slices.ContainsFunc(values, fits), nil
}

// matches compares with a pattern in which "*" matches any text and "?" any one character.
func matches(pattern, text string) bool {
	if !strings.ContainsAny(pattern, "*?") {
		return pattern == text
	}
	expression := regexp.QuoteMeta(pattern)
	expression = strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(expression)
	return regexp.MustCompile("(?s)^" + expression + "$").MatchString(text)
}

// arnMatches compares the six parts of an ARN one by one, so that a "*" does not match beyond its part.
func arnMatches(pattern, arn string) bool {
	patterns, parts := strings.SplitN(pattern, ":", 6), strings.SplitN(arn, ":", 6)
	return slices.EqualFunc(patterns, parts, matches)
}
