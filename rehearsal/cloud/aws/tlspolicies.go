package aws

import (
	"crypto/tls"
)

// MinimumTLS maps each supported security policy to its oldest version of TLS. Supported are AWS's default and two that
// AWS recommends (its guide "Security policies for your Application Load Balancer").
var MinimumTLS = map[string]uint16{
	"ELBSecurityPolicy-2016-08":                  tls.VersionTLS10,
	"ELBSecurityPolicy-TLS13-1-2-2021-06":        tls.VersionTLS12,
	"ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09": tls.VersionTLS12,
}
