package controllers

import (
	"fmt"
	"slices"

	"eco2/rehearsal/cluster/model"
	"eco2/rehearsal/cluster/provider"
)

func replicas(o model.Object) int {
	n, set := at(o.Live, "spec", "replicas").(float64)
	if !set {
		return 1
	}
	return int(n)
}

// ownedBy returns a new object with an owner reference, so that it is deleted with its owner.
func ownedBy(by model.Object, apiVersion, kind, name string) provider.Manifest {
	return provider.Manifest{"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{
		"namespace": by.Ref.Namespace, "name": name,
		"ownerReferences": []any{map[string]any{"apiVersion": by.Ref.APIVersion, "kind": by.Ref.Kind, "name": by.Ref.Name}},
	}}
}

// garbageCollect deletes objects whose owner no longer exists, as Kubernetes' garbage collector does.
func garbageCollect(s *snapshot) error {
	for _, o := range s.objects {
		for _, reference := range list(o.Live, "metadata", "ownerReferences") {
			r, _ := reference.(map[string]any)
			owner := provider.Ref{APIVersion: text(r, "apiVersion"), Kind: text(r, "kind"), Namespace: o.Ref.Namespace, Name: text(r, "name")}
			if _, there := s.find(owner); !there && o.Deleted.IsZero() {
				if err := s.remove(o.Ref); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// prometheus models the operator of the monitoring stack: each Prometheus and Alertmanager has a StatefulSet, which the
// operator recreates and scales back when somebody deletes or scales it.
func prometheus(s *snapshot) error {
	if !s.runs("Deployment", "kube-prometheus-stack-operator") {
		return nil
	}
	for kind, prefix := range map[string]string{"Prometheus": "prometheus-", "Alertmanager": "alertmanager-"} {
		for _, o := range s.of("monitoring.coreos.com", kind) {
			set := ownedBy(o, "apps/v1", "StatefulSet", prefix+o.Ref.Name)
			spec := map[string]any{"replicas": float64(replicas(o)), "template": map[string]any{}}
			if template, ok := at(o.Live, "spec", "storage", "volumeClaimTemplate").(map[string]any); ok {
				spec["volumeClaimTemplates"] = []any{map[string]any{
					"metadata": map[string]any{"name": prefix + o.Ref.Name + "-db"}, "spec": template["spec"],
				}}
			}
			set["spec"] = spec
			if found, there := s.find(set.Ref()); there && replicas(found) == replicas(o) {
				continue
			}
			if err := s.apply("prometheus-operator", set); err != nil {
				return err
			}
		}
	}
	return nil
}

// pods creates and deletes the pods and claims of workloads with volumes. Pods of other workloads are not modelled, as
// nothing reads them.
func pods(s *snapshot) error {
	for _, o := range append(s.of("apps", "StatefulSet"), s.of("apps", "Deployment")...) {
		templates, claimed := list(o.Live, "spec", "volumeClaimTemplates"), claimsOf(list(o.Live, "spec", "template", "spec", "volumes"))
		if len(templates)+len(claimed) == 0 {
			continue
		}
		wanted := map[string]bool{}
		for i := range replicas(o) {
			pod := ownedBy(o, "v1", "Pod", fmt.Sprintf("%s-%d", o.Ref.Name, i))
			wanted[pod.Ref().Name] = true
			uses := slices.Clone(claimed)
			for _, template := range templates {
				t, _ := template.(map[string]any)
				claim := named("PersistentVolumeClaim", o.Ref.Namespace, text(t, "metadata", "name")+"-"+pod.Ref().Name)
				claim["spec"] = t["spec"]
				uses = append(uses, claim.Ref().Name)
				if _, there := s.find(claim.Ref()); !there {
					if err := s.apply("kube-controller-manager", claim); err != nil {
						return err
					}
				}
			}
			if _, there := s.find(pod.Ref()); there {
				continue
			}
			var volumes []any
			for _, claim := range uses {
				volumes = append(volumes, map[string]any{"name": claim, "persistentVolumeClaim": map[string]any{"claimName": claim}})
			}
			pod["spec"] = map[string]any{"volumes": volumes}
			if err := s.apply("kube-controller-manager", pod); err != nil {
				return err
			}
		}
		for _, pod := range s.of("", "Pod") {
			owner, _ := append(list(pod.Live, "metadata", "ownerReferences"), nil)[0].(map[string]any)
			if text(owner, "kind") == o.Ref.Kind && text(owner, "name") == o.Ref.Name && pod.Ref.Namespace == o.Ref.Namespace && !wanted[pod.Ref.Name] {
				if err := s.remove(pod.Ref); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// named returns an object of the core API.
func named(kind, namespace, name string) provider.Manifest {
	return provider.Manifest{"apiVersion": "v1", "kind": kind, "metadata": map[string]any{"namespace": namespace, "name": name}}
}

// claimsOf returns the names of the claims among a pod's volumes.
func claimsOf(volumes []any) (names []string) {
	for _, volume := range volumes {
		v, _ := volume.(map[string]any)
		if name := text(v, "persistentVolumeClaim", "claimName"); name != "" {
			names = append(names, name)
		}
	}
	return names
}
