package model

import (
	"eco2/rehearsal/cluster/provider"
	"eco2/rehearsal/internal/store"
)

// charts returns, by the chart's name, those objects of a chart that the model needs: the workloads of controllers
// that create things in AWS, and the objects that request volumes from them.
var charts = map[string]func(spec provider.ReleaseSpec) []provider.Manifest{
	"aws-load-balancer-controller": func(s provider.ReleaseSpec) []provider.Manifest {
		return []provider.Manifest{deployment(s.Namespace, "aws-load-balancer-controller")}
	},
	"aws-ebs-csi-driver": func(s provider.ReleaseSpec) []provider.Manifest {
		return []provider.Manifest{deployment(s.Namespace, "ebs-csi-controller")}
	},
	"external-dns": func(s provider.ReleaseSpec) []provider.Manifest {
		return []provider.Manifest{deployment(s.Namespace, "external-dns")}
	},
	"kube-prometheus-stack": prometheusStack,
}

// prometheusStack returns the operator, the Prometheus and Alertmanager resources that it acts on, and Grafana with
// its volume claim.
func prometheusStack(s provider.ReleaseSpec) []provider.Manifest {
	watched := func(kind, name, specKey, storageKey string) provider.Manifest {
		values := nested(s.Values, name, specKey)
		spec := map[string]any{"replicas": float64(1)}
		if storage := nested(values, storageKey); storage != nil {
			spec["storage"] = storage
		}
		m := named("monitoring.coreos.com/v1", kind, s.Namespace, s.Name+"-"+name)
		m["spec"] = spec
		return m
	}
	all := []provider.Manifest{
		deployment(s.Namespace, s.Name+"-operator"),
		watched("Prometheus", "prometheus", "prometheusSpec", "storageSpec"),
		watched("Alertmanager", "alertmanager", "alertmanagerSpec", "storage"),
	}
	persistence := nested(s.Values, "grafana", "persistence")
	if persistence["enabled"] != true {
		return all
	}
	name := s.Name + "-grafana"
	claim := named("v1", "PersistentVolumeClaim", s.Namespace, name)
	claim["spec"] = map[string]any{
		"storageClassName": persistence["storageClassName"], "accessModes": []any{"ReadWriteOnce"},
		"resources": map[string]any{"requests": map[string]any{"storage": persistence["size"]}},
	}
	grafana := deployment(s.Namespace, name)
	nested(grafana, "spec", "template")["spec"] = map[string]any{"volumes": []any{map[string]any{
		"name": "storage", "persistentVolumeClaim": map[string]any{"claimName": name},
	}}}
	return append(all, claim, grafana)
}

func named(apiVersion, kind, namespace, name string) provider.Manifest {
	return provider.Manifest{
		"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"namespace": namespace, "name": name},
	}
}

// deployment returns a Deployment with one replica.
func deployment(namespace, name string) provider.Manifest {
	m := named("apps/v1", "Deployment", namespace, name)
	m["spec"] = map[string]any{"replicas": float64(1), "template": map[string]any{}}
	return m
}

// nested returns the object at a path of keys, or nil if there is none.
func nested(m map[string]any, keys ...string) map[string]any {
	for _, key := range keys {
		m, _ = m[key].(map[string]any)
	}
	return m
}

// helm is the field manager of charts' objects.
const helm = "helm"

// applyChart applies the objects of a release's chart.
func (c *Cluster) applyChart(tx *store.Tx, spec provider.ReleaseSpec) error {
	objects := charts[chartName(spec.Chart)]
	if objects == nil {
		return nil
	}
	for _, manifest := range objects(spec) {
		manifest, err := normalise(manifest)
		if err != nil {
			return err
		}
		if _, err := c.apply(tx, manifest, provider.ApplyOptions{Manager: helm, Force: true}); err != nil {
			return err
		}
	}
	return nil
}

// deleteChart deletes the objects of a release's chart.
func (c *Cluster) deleteChart(tx *store.Tx, release provider.Release) error {
	objects := charts[release.Chart]
	if objects == nil {
		return nil
	}
	for _, manifest := range objects(provider.ReleaseSpec{Namespace: release.Namespace, Name: release.Name}) {
		var o object
		found, err := tx.Get(objectKind, c.key(manifest.Ref()), &o)
		if err == nil && found {
			err = c.remove(tx, o)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
