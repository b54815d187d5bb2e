// Package secrets implements the three Deployments of the stand-in for External Secrets: Controller copies SSM
// parameters into Secrets, Webhook rejects resources that Controller does not support, and Certificates creates the
// webhook's certificate and injects its authority into the webhook configurations.
//
// It supports ClusterSecretStores for AWS's Parameter Store that use the node's role, and ExternalSecrets whose data
// are such parameters, either as they are or through a template. It rejects every other field by name, so that it never
// ignores a field on which upstream would act. Secrets, conditions and events have the same names as upstream's.
// Templates have Go's own functions but not those that upstream adds.
package secrets

import (
	"errors"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	version    = schema.GroupVersion{Group: "external-secrets.io", Version: "v1"}
	storeKind  = version.WithKind("ClusterSecretStore")
	secretKind = version.WithKind("ExternalSecret")
)

func object(kind schema.GroupVersionKind) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(kind)
	return o
}

func objects(kind schema.GroupVersionKind) *unstructured.UnstructuredList {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	return list
}

// storeSpec holds the supported fields of a ClusterSecretStore.
type storeSpec struct {
	Provider struct {
		AWS struct {
			Service string `json:"service"`
			Region  string `json:"region"`
		} `json:"aws"`
	} `json:"provider"`
	Conditions []struct {
		Namespaces []string `json:"namespaces"`
	} `json:"conditions,omitempty"`
}

// allows reports whether ExternalSecrets of a namespace may use the store. If the store has conditions, one of them
// must list the namespace.
func (s storeSpec) allows(namespace string) bool {
	for _, c := range s.Conditions {
		if slices.Contains(c.Namespaces, namespace) {
			return true
		}
	}
	return len(s.Conditions) == 0
}

// secretSpec holds the supported fields of an ExternalSecret, and those that the API server sets to defaults.
type secretSpec struct {
	RefreshInterval *metav1.Duration `json:"refreshInterval,omitempty"`
	SecretStoreRef  struct {
		Kind string `json:"kind,omitempty"`
		Name string `json:"name"`
	} `json:"secretStoreRef"`
	Target struct {
		Name           string `json:"name,omitempty"`
		CreationPolicy string `json:"creationPolicy,omitempty"`
		DeletionPolicy string `json:"deletionPolicy,omitempty"`
		Template       *struct {
			EngineVersion string            `json:"engineVersion,omitempty"`
			MergePolicy   string            `json:"mergePolicy,omitempty"`
			Data          map[string]string `json:"data,omitempty"`
			Metadata      struct {
				Annotations map[string]string `json:"annotations,omitempty"`
			} `json:"metadata,omitempty"`
		} `json:"template,omitempty"`
	} `json:"target,omitempty"`
	Data []struct {
		SecretKey string `json:"secretKey"`
		RemoteRef struct {
			Key                string `json:"key"`
			Version            string `json:"version,omitempty"`
			MetadataPolicy     string `json:"metadataPolicy,omitempty"`
			ConversionStrategy string `json:"conversionStrategy,omitempty"`
			DecodingStrategy   string `json:"decodingStrategy,omitempty"`
		} `json:"remoteRef"`
	} `json:"data,omitempty"`
}

func readStore(o *unstructured.Unstructured) (spec storeSpec, err error) {
	if err := readSpec(o, &spec); err != nil {
		return spec, err
	}
	aws := spec.Provider.AWS
	if aws.Service != "ParameterStore" {
		return spec, fmt.Errorf("spec.provider.aws.service is %q, but the rehearsal supports ParameterStore only", aws.Service)
	}
	if aws.Region == "" {
		return spec, errors.New("spec.provider.aws.region is empty")
	}
	return spec, nil
}

func readSecret(o *unstructured.Unstructured) (spec secretSpec, err error) {
	if err := readSpec(o, &spec); err != nil {
		return spec, err
	}
	var problems []error
	only := func(field, value string, known ...string) {
		if value != "" && !slices.Contains(known, value) {
			problems = append(problems, fmt.Errorf("%s is %q, but the rehearsal supports %q only", field, value, known[0]))
		}
	}
	// Upstream's default kind is SecretStore, which the rehearsal does not support.
	if kind := spec.SecretStoreRef.Kind; kind != storeKind.Kind {
		problems = append(problems, fmt.Errorf("spec.secretStoreRef.kind is %q, but the rehearsal supports %q only", kind, storeKind.Kind))
	}
	only("spec.target.creationPolicy", spec.Target.CreationPolicy, "Owner")
	only("spec.target.deletionPolicy", spec.Target.DeletionPolicy, "Retain")
	if t := spec.Target.Template; t != nil {
		only("spec.target.template.engineVersion", t.EngineVersion, "v2")
		only("spec.target.template.mergePolicy", t.MergePolicy, "Replace")
		if _, err := parse(t.Data); err != nil {
			problems = append(problems, err)
		}
	}
	if len(spec.Data) == 0 {
		problems = append(problems, errors.New("spec.data is empty"))
	}
	for _, d := range spec.Data {
		only("remoteRef.metadataPolicy of "+d.SecretKey, d.RemoteRef.MetadataPolicy, "None")
		only("remoteRef.conversionStrategy of "+d.SecretKey, d.RemoteRef.ConversionStrategy, "Default")
		only("remoteRef.decodingStrategy of "+d.SecretKey, d.RemoteRef.DecodingStrategy, "None")
	}
	return spec, errors.Join(problems...)
}

// readSpec decodes an object's spec into a struct. It returns an error if the spec has a field that the struct does not
// have.
func readSpec(o *unstructured.Unstructured, into any) error {
	spec, found, err := unstructured.NestedMap(o.Object, "spec")
	if err != nil || !found {
		return errors.Join(errors.New("there is no spec"), err)
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(spec, into, true); err != nil {
		return fmt.Errorf("the rehearsal does not support all fields of spec: %w", err)
	}
	return nil
}
