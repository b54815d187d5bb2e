package main

import (
	"github.com/spf13/cobra"

	"eco2/rehearsal/standin/operators"
)

func redisOperator() *cobra.Command { return operator("redis-operator", operators.Redis) }

func rabbitMQOperator() *cobra.Command {
	return operator("rabbitmq-cluster-operator", operators.RabbitMQ)
}

func operator(name string, o operators.Operator) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: "Create StatefulSets with volumes for " + name + "'s custom resources", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return operators.Run(cmd.Context(), o) },
	}
}
