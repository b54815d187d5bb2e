package hosts

import "time"

// Durations is how long each script takes on a real machine that has nothing of it yet. They are estimates
// until they are measured on real machines. The sweep and the records are in none: they run, and take what they take.
var Durations = map[string]time.Duration{
	"prepare":    60 * time.Second,
	"install":    time.Second,
	"init":       35 * time.Second,
	"join":       15 * time.Second,
	"kubeconfig": time.Second,
	"calico":     10 * time.Second,
	"ready":      20 * time.Second,
	"argocd":     45 * time.Second,
	"crds":       4 * time.Second,
	"admission":  2 * time.Second,
	"secret":     2 * time.Second,
	"leave":      15 * time.Second,
}
