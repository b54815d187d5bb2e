package main

import (
	"github.com/spf13/cobra"

	"eco2/rehearsal/incluster/loadbalancer"
)

func loadBalancerController() *cobra.Command {
	var s loadbalancer.Settings
	cmd := &cobra.Command{
		Use: "aws-load-balancer-controller", Short: "Turn Ingresses into Application Load Balancers", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return loadbalancer.Run(cmd.Context(), s) },
	}
	flags := cmd.Flags()
	flags.StringVar(&s.Cluster, "cluster-name", "", "the cluster's name, which load balancers are tagged with")
	flags.StringVar(&s.VPC, "aws-vpc-id", "", "the network that the cluster is in")
	flags.StringVar(&s.SSLPolicy, "default-ssl-policy", "ELBSecurityPolicy-2016-08", "the versions of TLS that listeners speak")
	return cmd
}
