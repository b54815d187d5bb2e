// Package secrets is what the three Deployments of External Secrets' stand-in run: Controller, which copies SSM
// parameters into Secrets, Webhook, which refuses what Controller would not understand, and Certificates, which gives
// the webhook its certificate and the API server the authority to check it by.
//
// It knows ClusterSecretStores of AWS's Parameter Store that use the node's role, and ExternalSecrets whose data are
// such parameters, as they are or through a template. It refuses every other field there is, with its name: nothing
// that upstream would act on passes unseen. Secrets, conditions and events have upstream's names; templates have
// Go's own functions and none of upstream's further ones.
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

// storeSpec is what a ClusterSecretStore may say here.
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

// serves says whether ExternalSecrets of a namespace may use the store: where there are conditions, one must be met.
func (s storeSpec) serves(namespace string) bool {
	for _, c := range s.Conditions {
		if slices.Contains(c.Namespaces, namespace) {
			return true
		}
	}
	return len(s.Conditions) == 0
}

// secretSpec is what an ExternalSecret may say here, with what the API server fills in.
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
		return spec, fmt.Errorf("spec.provider.aws.service is %q, and the rehearsal's AWS has only the ParameterStore", aws.Service)
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
			problems = append(problems, fmt.Errorf("%s is %q, and the rehearsal knows only %q", field, value, known[0]))
		}
	}
	// Upstream's default is the other kind, which is not here.
	if kind := spec.SecretStoreRef.Kind; kind != storeKind.Kind {
		problems = append(problems, fmt.Errorf("spec.secretStoreRef.kind is %q, and the rehearsal knows only %q", kind, storeKind.Kind))
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

// readSpec reads an object's spec into the fields that are known, and refuses others.
func readSpec(o *unstructured.Unstructured, into any) error {
	spec, found, err := unstructured.NestedMap(o.Object, "spec")
	if err != nil || !found {
		return errors.Join(errors.New("there is no spec"), err)
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(spec, into, true); err != nil {
		return fmt.Errorf("the rehearsal does not know all of spec: %w", err)
	}
	return nil
}
