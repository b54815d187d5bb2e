// Package config reads a stack's settings and validates them. Load is the entry point: it reads every setting and fills
// in the defaults (read.go), then checks the result without changing it (validate.go).
//
// It reports all problems at once, before any resource is registered; each names its key and says what would be right.
// docs/configuration.md describes the settings for users.
package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Config holds a stack's valid settings. The defaults that are named here are those of Pulumi.yaml, which the pulumi
// command passes to the program like any other value.
type Config struct {
	// Name is "<project>-<stack>". It is the cluster's name and the prefix of every name that must be unique in an AWS
	// account, so that one account can hold several stacks.
	Name string
	// ParameterPrefix is "/<project>/<stack>", the path of the stack's SSM parameters.
	ParameterPrefix string

	// Environment determines replicas, retention and disk sizes of the platform. It defaults to Dev.
	Environment Environment
	// Protect makes Pulumi refuse to destroy the network, the control plane and the sweeps. It defaults to false.
	Protect bool
	// Platform adds Argo CD and everything that package platform declares. It defaults to true; without it the cluster
	// is bare, and nothing deletes what the cluster creates in AWS.
	Platform bool

	// Region is the AWS region, of the partition "aws". It defaults to ap-northeast-2 and cannot change later.
	Region string
	// Zones lists 2 to 4 availability zones of the region, in any order. Each has one subnet.
	Zones []string
	// VpcCidr is the network of the VPC, from /16 to /20. It has no default and cannot change later.
	VpcCidr netip.Prefix
	// PodCidr is the network of the pods, with a /24 for each node. It defaults to 192.168.0.0/16, cannot be larger
	// than /8, and cannot change later.
	PodCidr netip.Prefix
	// ServiceCidr is the network of the Services, from /12 to /24. It defaults to 10.96.0.0/12 and cannot change later.
	ServiceCidr netip.Prefix
	// AdminCidrs lists the networks that may reach SSH (22), the Kubernetes API (6443) and, with a domain, Argo CD
	// (ArgoCDPort), sorted. It has no default. In prod they must cover less than half of all addresses. With
	// NodePortCidrs and Domain they must fit into one security group: see InboundRules.
	AdminCidrs []netip.Prefix
	// NodePortCidrs lists the networks that may reach the NodePorts (30000 to 32767), sorted, with the same limits. By
	// default there are none: the load balancer needs no such network, and NodePorts carry unencrypted HTTP.
	NodePortCidrs []netip.Prefix

	// Domain is the domain to serve, of at most 64 characters. It is empty by default; then there is no certificate and
	// no Ingress, and the load balancer's ports stay closed.
	Domain string
	// HostedZoneID is the id of the Route 53 zone that contains Domain. It is set if and only if Domain is.
	HostedZoneID string

	SSH SSH
	// AMI is the image of new machines, for amd64. If it is empty, the default, they get the newest Ubuntu 24.04.
	// Machines that exist keep their image.
	AMI string
	// Nodes overrides entries of the node table by name.
	Nodes     map[string]NodeOverride
	Versions  Versions
	Upgrade   Upgrade
	GitOps    GitOps
	Passwords Passwords
	Mirror    Mirror

	// Backup defaults to a snapshot every four hours in prod, and to none in dev.
	Backup Backup
	// RestoreFrom is the EBS snapshot of which the disk with the cluster's state is made, or empty if that is a new disk.
	// If it is not set, it is that of the last update: removing the setting does not replace the disk.
	RestoreFrom string

	// Previous holds the settings of the last update that finished.
	Previous Previous
	// CertificatesValidUntil is the date until which this update makes the control plane's certificates valid, such as
	// 2027-11-30. It is not a setting.
	CertificatesValidUntil string
}

// Environment is the purpose of a stack.
type Environment string

const (
	// Dev keeps monitoring data for 15 days and on no volume.
	Dev Environment = "dev"
	// Prod keeps monitoring data for 30 days, on volumes, and refuses to expose a port to half of the internet or more.
	Prod Environment = "prod"
)

// Load reads and validates the settings of the running stack. nodes holds the entries of the node table, the control
// plane's first. If settings are invalid, the error lists all problems. Load logs a warning about each setting that is
// allowed but that the user should know about.
func Load(ctx *pulumi.Context, nodes []NodeEntry) (Config, error) {
	r := &report{project: ctx.Project(), stack: ctx.Stack()}
	c := (&reader{ctx: ctx, report: r}).read()
	var err error
	if c.Previous, err = readPrevious(ctx, nodes[0].Name); err != nil {
		return Config{}, err
	}
	// What it declares changes only when certificates are to be renewed, and stays as it was recorded until then.
	c.CertificatesValidUntil = c.Previous.certificatesValidUntil(time.Now()) //nolint:forbidigo // see above
	c.RestoreFrom = cmp.Or(c.RestoreFrom, c.Previous.RestoreFrom)
	r.validate(c, nodes)
	if err := r.err(); err != nil {
		return Config{}, err
	}
	for _, warning := range r.warnings {
		if err := ctx.Log.Warn(warning, nil); err != nil {
			return Config{}, fmt.Errorf("logging a warning: %w", err)
		}
	}
	return c, nil
}
