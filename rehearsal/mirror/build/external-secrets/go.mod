module eco2/rehearsal/mirror/build/external-secrets

go 1.26

// Only read: its definitions of custom resources are what the program applies to the cluster.
require github.com/external-secrets/external-secrets v0.20.4
