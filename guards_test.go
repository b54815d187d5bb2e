package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// This file tests guards of docs/incidents.md that no other test covers.

// Objects must depend on what serves them: a webhook that is not reachable yet rejects them, a controller without its
// IAM policies retries forever, and an Application without its project is invalid.
func TestObjectsDependOnWhatServesThem(t *testing.T) {
	const (
		ingress     = "kubernetes:networking.k8s.io/v1:Ingress"
		store       = "kubernetes:external-secrets.io/v1:ClusterSecretStore"
		secret      = "kubernetes:external-secrets.io/v1:ExternalSecret"
		application = "kubernetes:argoproj.io/v1alpha1:Application"
		namespace   = "kubernetes:core/v1:Namespace"
	)
	forEachStack(t, func(t *testing.T, g *graph) {
		after := func(later, earlier *declared) {
			assert.True(t, g.dependsOn(later, earlier), "%s must come after %s", later.Name, earlier.Name)
		}
		release := func(name string) *declared { return g.named(t, releaseType, name) }
		root := g.named(t, application, "root")
		after(g.named(t, store, "aws-ssm"), release("external-secrets"))
		after(g.named(t, secret, "grafana-admin"), g.named(t, store, "aws-ssm"))
		synced := g.named(t, commandType, "grafana-admin-synced")
		after(g.named(t, secret, "grafana-admin"), g.named(t, "aws:ssm/parameter:Parameter", "platform-grafana-admin-password"))
		after(synced, g.named(t, secret, "grafana-admin"))
		after(release("kube-prometheus-stack"), synced)
		after(release("kube-prometheus-stack"), release("aws-ebs-csi-driver"))
		for _, earlier := range []*declared{
			release("aws-load-balancer-controller"), release("external-dns"), g.named(t, commandType, "argocd"),
		} {
			after(g.named(t, ingress, "argocd"), earlier)
			after(g.named(t, ingress, "web"), earlier)
		}
		for _, object := range []string{"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"} {
			after(root, g.named(t, "kubernetes:admissionregistration.k8s.io/v1:"+object, "parameter-access"))
		}

		after(root, g.named(t, projectType, "project-root"))
		after(root, g.named(t, projectType, "project-"+g.stack))
		policies := append(g.ofType("aws:iam/rolePolicy:RolePolicy"), g.ofType("aws:iam/rolePolicyAttachment:RolePolicyAttachment")...)
		assert.Len(t, policies, map[string]int{"dev": 6, "prod": 7}[g.stack], "prod has one for its backups")
		for _, r := range g.ofType(releaseType) {
			after(root, r)
			for _, policy := range policies {
				after(r, policy)
			}
			if in := r.Inputs["namespace"].StringValue(); in != "kube-system" {
				after(r, g.named(t, namespace, in))
			}
		}
	})
}

// member holds the labels and taints that a node's script sets.
type member struct {
	labels map[string]string
	taints []string // key=value:effect
}

// members returns the nodes by name, from the flags of the commands that join them or initialise the control plane.
func members(g *graph) map[string]member {
	nodes := map[string]member{}
	for _, r := range g.ofType(commandType) {
		name, joins := strings.CutPrefix(r.Name, "member-")
		if control, ok := strings.CutPrefix(r.Name, "init-"); ok {
			name = control
		} else if !joins {
			continue
		}
		flag := func(name string) string {
			found := regexp.MustCompile(`--` + name + ` '?([^ ']*)`).FindStringSubmatch(r.Inputs["create"].StringValue())
			if found == nil {
				return ""
			}
			return found[1]
		}
		node := member{labels: map[string]string{}}
		for _, label := range strings.Split(flag("labels"), ",") {
			key, value, _ := strings.Cut(label, "=")
			node.labels[key] = value
		}
		node.taints = strings.FieldsFunc(flag("taints"), func(r rune) bool { return r == ',' })
		nodes[name] = node
	}
	return nodes
}

// A kubelet refuses to start with a label under kubernetes.io that it may not set on its own node.
func TestKubeletsMaySetTheirLabels(t *testing.T) {
	forEachStack(t, func(t *testing.T, g *graph) {
		nodes := members(g)
		assert.Len(t, nodes, 14)
		for name, node := range nodes {
			assert.NotEmpty(t, node.labels["role"], "%s has no role, so this test does not read the labels", name)
			for key := range node.labels {
				assert.NotContains(t, key, "/", name)
			}
		}
	})
}

// A node selector that matches no node, or a taint that is not tolerated, leaves a pod Pending. So each node selector
// of the platform must match exactly one node, and the tolerations beside it must tolerate that node's taints.
func TestPlatformPodsMatchOneNode(t *testing.T) {
	forEachStack(t, func(t *testing.T, g *graph) {
		nodes := members(g)
		// kubeadm's own label and taint, which are in no flag.
		const controlPlane = "node-role.kubernetes.io/control-plane"
		master := nodes["k8s-master"]
		master.labels[controlPlane] = ""
		master.taints = append(master.taints, controlPlane+"=:NoSchedule")
		nodes["k8s-master"] = master

		placed := 0
		var walk func(where string, value any)
		walk = func(where string, value any) {
			values, ok := value.(map[string]any)
			if !ok {
				return
			}
			if selector, ok := values["nodeSelector"].(map[string]any); ok {
				placed++
				var fit []string
				for name, node := range nodes {
					if node.has(selector) && node.toleratedBy(values["tolerations"]) {
						fit = append(fit, name)
					}
				}
				assert.Len(t, fit, 1, "%s: nodes for %v", where, selector)
			}
			for key, inner := range values {
				walk(where+"."+key, inner)
			}
		}
		for _, r := range g.ofType(releaseType) {
			before := placed
			walk(r.Name, r.Inputs["values"].MapRepl(nil, plainMap))
			assert.Greater(t, placed, before, "%s has no node selector", r.Name)
		}
	})
}

// plainMap replaces outputs by their values.
func plainMap(v resource.PropertyValue) (any, bool) {
	if v.IsOutput() {
		return v.OutputValue().Element.MapRepl(nil, plainMap), true
	}
	return nil, false
}

// has reports whether the node has the labels of a node selector.
func (m member) has(selector map[string]any) bool {
	for key, value := range selector {
		if found, ok := m.labels[key]; !ok || found != value {
			return false
		}
	}
	return true
}

// toleratedBy reports whether the tolerations tolerate all of the node's taints.
func (m member) toleratedBy(tolerations any) bool {
	list, _ := tolerations.([]any)
	for _, taint := range m.taints {
		id, effect, _ := strings.Cut(taint, ":")
		key, value, _ := strings.Cut(id, "=")
		if !slices.ContainsFunc(list, func(item any) bool {
			t := item.(map[string]any)
			return t["key"] == key && (t["operator"] == "Exists" || t["value"] == value) && t["effect"] == effect
		}) {
			return false
		}
	}
	return true
}

// Behind the load balancer Argo CD must serve plain HTTP, set in its ConfigMap, on a NodePort to which the Ingress
// refers. Its command must not be patched: with a command but without its arguments the server does not start.
func TestArgoCDServesHTTPWhereTheIngressSays(t *testing.T) {
	data, err := os.ReadFile("cluster/manifests/argocd/kustomization.yaml")
	require.NoError(t, err)
	var kustomization struct {
		Patches []struct {
			Target struct{ Kind, Name string }
			Patch  string
		}
	}
	require.NoError(t, yaml.Unmarshal(data, &kustomization))
	patches := map[string]string{}
	for _, p := range kustomization.Patches {
		patches[strings.TrimSuffix(p.Target.Kind+"/"+p.Target.Name, "/")] = p.Patch
		assert.NotRegexp(t, `(?m)^\s*(- )?(command|args):`, p.Patch, p.Target.Kind)
	}
	var parameters struct{ Data map[string]string }
	require.NoError(t, yaml.Unmarshal([]byte(patches["ConfigMap/argocd-cmd-params-cm"]), &parameters))
	assert.Equal(t, "true", parameters.Data["server.insecure"])

	var service struct {
		Metadata struct{ Name string }
		Spec     struct {
			Type  string
			Ports []struct {
				Port     int
				NodePort int `yaml:"nodePort"`
			}
		}
	}
	require.NoError(t, yaml.Unmarshal([]byte(patches["Service/argocd-server"]), &service))
	assert.Equal(t, "NodePort", service.Spec.Type, "a load balancer whose targets are instances needs one")
	require.Len(t, service.Spec.Ports, 1)
	assert.Positive(t, service.Spec.Ports[0].NodePort)
	forEachStack(t, func(t *testing.T, g *graph) {
		ingress := g.named(t, "kubernetes:networking.k8s.io/v1:Ingress", "argocd").Inputs.MapRepl(nil, plainMap)
		annotations := ingress["metadata"].(map[string]any)["annotations"].(map[string]any)
		assert.Equal(t, "instance", annotations["alb.ingress.kubernetes.io/target-type"])
		assert.Equal(t, "HTTP", annotations["alb.ingress.kubernetes.io/backend-protocol"])
		rule := ingress["spec"].(map[string]any)["rules"].([]any)[0].(map[string]any)
		path := rule["http"].(map[string]any)["paths"].([]any)[0].(map[string]any)
		backend := path["backend"].(map[string]any)["service"].(map[string]any)
		assert.Equal(t, service.Metadata.Name, backend["name"])
		assert.EqualValues(t, service.Spec.Ports[0].Port, backend["port"].(map[string]any)["number"])
	})

	// All of Argo CD runs on the control plane.
	for _, kind := range []string{"Deployment", "StatefulSet"} {
		assert.Contains(t, patches[kind], "node-role.kubernetes.io/control-plane", kind)
		assert.Contains(t, patches[kind], "{key: role, value: control-plane, effect: NoSchedule}", kind)
	}
}
