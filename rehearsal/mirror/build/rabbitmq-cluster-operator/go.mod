module eco2/rehearsal/mirror/build/rabbitmq-cluster-operator

go 1.26

// Only read: its definitions of custom resources are what the program applies to the cluster.
require github.com/rabbitmq/cluster-operator/v2 v2.22.4
