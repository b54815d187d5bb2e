package aws

import (
	"eco2/rehearsal/internal/store"
)

// TargetGroup is a group of targets that load balancers forward requests to: ports of instances.
type TargetGroup struct {
	ARN             string            `json:"id"`
	Name            string            `json:"name"`
	VPCID           string            `json:"vpcId"`
	Protocol        string            `json:"protocol"` // of the targets, HTTP or HTTPS
	ProtocolVersion string            `json:"protocolVersion"`
	Port            int               `json:"port"`
	HealthCheck     HealthCheck       `json:"healthCheck"`
	Targets         []Target          `json:"targets,omitempty"`
	Attributes      map[string]string `json:"attributes,omitempty"` // those that differ from AWS's defaults
	Tags            map[string]string `json:"tagsAll,omitempty"`
}

// Target is a port of an instance.
type Target struct {
	InstanceID string
	Port       int
}

// HealthCheck configures how a load balancer checks that a target works.
type HealthCheck struct {
	Protocol string
	Port     string // a number, or "traffic-port" for the target's own
	// Path is requested from the target; it is healthy if it responds with one of Codes: "200", "200,204", "200-399".
	Path, Codes                          string
	Interval, Timeout                    int // in seconds
	HealthyThreshold, UnhealthyThreshold int
}

// TargetGroups lists all target groups.
func (a *Account) TargetGroups() ([]TargetGroup, error) {
	return all[TargetGroup](a, TargetGroupKind)
}

// PutTargetGroup creates or updates a target group.
func (a *Account) PutTargetGroup(g TargetGroup) error {
	return a.store.Update(func(t *store.Tx) error { return t.Put(TargetGroupKind, g.ARN, g) })
}

// DeleteTargetGroup deletes a target group; it need not exist.
func (a *Account) DeleteTargetGroup(arn string) error {
	return a.store.Update(func(t *store.Tx) error { return t.Delete(TargetGroupKind, arn) })
}
