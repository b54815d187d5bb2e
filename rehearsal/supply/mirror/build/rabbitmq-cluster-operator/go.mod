module eco2/rehearsal/supply/mirror/build/rabbitmq-cluster-operator

go 1.26

// Not built. Only its CustomResourceDefinitions are read, which the program applies to the cluster.
require github.com/rabbitmq/cluster-operator/v2 v2.22.4
