package simulated

import "time"

// Durations maps scripts to how long they take on a real machine that has not run them before. These are estimates that
// have not been measured on real machines. The scripts sweep and records are not in it, because they are really
// executed.
var Durations = map[string]time.Duration{
	"prepare":    60 * time.Second,
	"install":    time.Second,
	"state":      3 * time.Second,
	"init":       35 * time.Second,
	"join":       15 * time.Second,
	"kubeconfig": time.Second,
	"calico":     10 * time.Second,
	"ready":      20 * time.Second,
	"argocd":     45 * time.Second,
	"crds":       4 * time.Second,
	"admission":  2 * time.Second,
	"accounts":   2 * time.Second,
	"secret":     2 * time.Second,
	"leave":      15 * time.Second,

	"upgrade-nodes": time.Second, // of nodes that are up to date
}
