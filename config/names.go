package config

import (
	"fmt"
	"regexp"
)

// The names of project and stack go into IAM roles (64 characters), key pairs, SSM parameters and, joined with a
// dash, into the name of the load balancer's group, which must end with a letter or digit.
var (
	projectName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)
	stackName   = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,14}[a-z0-9])?$`)
	// reservedName matches prefixes that AWS keeps for itself: SSM the first two, security groups the last.
	reservedName = regexp.MustCompile(`^(aws|ssm|sg$|sg-)`)
)

// nameProblems says what AWS or Kubernetes would refuse in the names of project and stack.
func nameProblems(project, stack string) []Problem {
	var problems []Problem
	switch {
	case !projectName.MatchString(project):
		problems = append(problems, Problem{"project name", fmt.Sprintf(
			"%q must be lower-case letters, digits and dashes, start with a letter, and have 32 characters at most", project)})
	case reservedName.MatchString(project):
		problems = append(problems, Problem{"project name", fmt.Sprintf(
			"%q must not start with aws, ssm or sg-, which AWS keeps for itself", project)})
	}
	if !stackName.MatchString(stack) {
		problems = append(problems, Problem{"stack name", fmt.Sprintf(
			"%q must be lower-case letters, digits and dashes, 16 at most, start with a letter and end with no dash", stack)})
	}
	return problems
}
