module eco2/rehearsal/supply/mirror/build/external-secrets

go 1.26

// Not built. Only its CustomResourceDefinitions are read, which the program applies to the cluster.
require github.com/external-secrets/external-secrets v0.20.4
