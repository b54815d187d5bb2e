package config

import (
	"fmt"
	"regexp"
)

// The project and stack names are part of the names of IAM roles (at most 64 characters), key pairs, SSM parameters
// and, joined with a dash, of the load balancer's group, which must end with a letter or digit.
var (
	projectName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)
	stackName   = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,14}[a-z0-9])?$`)
	// reservedName matches prefixes that AWS reserves: aws and ssm for SSM parameters, sg- for security groups.
	reservedName = regexp.MustCompile(`^(aws|ssm|sg$|sg-)`)
)

// nameProblems returns what AWS or Kubernetes would reject in the project and stack names.
func nameProblems(project, stack string) []string {
	var problems []string
	switch {
	case !projectName.MatchString(project):
		problems = append(problems, fmt.Sprintf(
			"project name: %q must be lower-case letters, digits and dashes, start with a letter, and have "+
				"at most 32 characters", project))
	case reservedName.MatchString(project):
		problems = append(problems, fmt.Sprintf(
			"project name: %q must not start with aws, ssm or sg-, which AWS reserves", project))
	}
	if !stackName.MatchString(stack) {
		problems = append(problems, fmt.Sprintf(
			"stack name: %q must be lower-case letters, digits and dashes, at most 16, start with a letter and "+
				"not end with a dash", stack))
	}
	return problems
}
