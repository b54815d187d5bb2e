// Command pulumi-resource-aws stands in for the AWS provider of the same name in the rehearsal.
package main

import (
	"eco2/rehearsal/aws"
	"eco2/rehearsal/plugin"
)

func main() { plugin.Main(aws.New) }
