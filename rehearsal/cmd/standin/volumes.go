package main

import (
	"github.com/spf13/cobra"

	"eco2/rehearsal/standin/volumes"
)

func ebsCSIController() *cobra.Command {
	var cluster string
	cmd := &cobra.Command{
		Use: "ebs-csi-controller", Short: "Create volumes for claims", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return volumes.Controller(cmd.Context(), cluster) },
	}
	cmd.Flags().StringVar(&cluster, "cluster", "", "the name of the cluster, with which volumes are tagged")
	return cmd
}

func ebsCSINode() *cobra.Command {
	return &cobra.Command{
		Use: "ebs-csi-node", Short: "Manage the directories of the volumes on the node NODE_NAME", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return volumes.Node(cmd.Context()) },
	}
}
