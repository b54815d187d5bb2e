// Package component is what the containers of Calico's stand-in run: on each node InstallCNI once and then
// Node, and KubeControllers once in the cluster. Package calico says what they are in place of.
package component
