package provider

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/engine/plugin"
)

// Name and Version identify the pulumi-kubernetes package, as the program's SDK registers it.
const (
	Name    = "kubernetes"
	Version = "4.30.0"
)

const releaseType = "kubernetes:helm.sh/v3:Release"

// New returns a model of the provider that reaches its cluster through connect.
func New(connect Connect) plugin.Provider {
	s := &session{connect: connect}
	return plugin.Provider{
		Name: Name, Version: Version,
		Configure:  s.configure,
		DiffConfig: diffConfig,
		Kinds: func(typ string) plugin.Kind {
			if typ == releaseType {
				return releaseKind{s}
			}
			if apiVersion, kind, ok := parseType(typ); ok {
				info, custom, found := lookupKind(apiVersion, kind)
				return objectKind{session: s, apiVersion: apiVersion, kind: kind, info: info, custom: custom, unlisted: !found}
			}
			return nil
		},
	}
}

// session holds the configuration of one provider process.
type session struct {
	connect Connect
	config  config
}

// config holds those inputs of the provider that the model acts on.
type config struct {
	kubeconfig, context, cluster, namespace string

	deleteUnreachable, skipUpdateUnreachable       bool
	upsert, force, configMapMutable, secretMutable bool
}

// providerInputs lists all inputs of the real provider. The model accepts also those it does not act on.
var providerInputs = []string{
	"alwaysRender", "cluster", "clusterIdentifier", "context", "deleteUnreachable", "enableConfigMapMutable",
	"enablePatchForce", "enableSecretMutable", "enableServerSideApply", "helmReleaseSettings",
	"kubeClientSettings", "kubeconfig", "namespace", "renderYamlToDirectory", "skipUpdateUnreachable",
	"suppressDeprecationWarnings", "suppressHelmHookWarnings", "upsertExistingObjects",
}

func (s *session) configure(_ context.Context, inputs resource.PropertyMap) error {
	if err := plugin.CheckConfiguration(Name, inputs, providerInputs...); err != nil {
		return err
	}
	if inputs.HasValue("renderYamlToDirectory") {
		return errors.New("configuring the kubernetes provider: the rehearsal does not model renderYamlToDirectory")
	}
	if ssa, set := inputs["enableServerSideApply"]; set && !boolean(ssa) {
		return errors.New("configuring the kubernetes provider: the rehearsal models server-side apply only")
	}
	flag := func(property, env string) bool {
		if value, set := inputs[resource.PropertyKey(property)]; set {
			return boolean(value)
		}
		on, err := strconv.ParseBool(os.Getenv(env))
		return err == nil && on
	}
	s.config = config{
		kubeconfig:            plugin.Text(inputs["kubeconfig"]),
		context:               plugin.Text(inputs["context"]),
		cluster:               plugin.Text(inputs["cluster"]),
		namespace:             plugin.Text(inputs["namespace"]),
		deleteUnreachable:     flag("deleteUnreachable", "PULUMI_K8S_DELETE_UNREACHABLE"),
		skipUpdateUnreachable: flag("skipUpdateUnreachable", "PULUMI_K8S_SKIP_UPDATE_UNREACHABLE"),
		upsert:                flag("upsertExistingObjects", "PULUMI_K8S_UPSERT_EXISTING_OBJECTS"),
		force:                 flag("enablePatchForce", "PULUMI_K8S_ENABLE_PATCH_FORCE"),
		configMapMutable:      flag("enableConfigMapMutable", "PULUMI_K8S_ENABLE_CONFIGMAP_MUTABLE"),
		secretMutable:         flag("enableSecretMutable", "PULUMI_K8S_ENABLE_SECRET_MUTABLE"),
	}
	return nil
}

// boolean converts a flag, which the engine may pass to a provider as a string.
func boolean(v resource.PropertyValue) bool {
	if v.IsBool() {
		return v.BoolValue()
	}
	on, err := strconv.ParseBool(plugin.Text(v))
	return err == nil && on
}

// diffConfig decides whether a change of the configuration means another cluster, which replaces the provider.
// If both the old and the new inputs have a clusterIdentifier, it decides alone. Otherwise kubeconfig, context
// and cluster decide, and a value that is not known yet counts as changed.
//
// An unknown kubeconfig in the state is an error, as in pulumi-kubernetes, which cannot parse it.
func diffConfig(r *plugin.Request) (plugin.Diff, error) {
	if old := r.OldInputs["kubeconfig"]; old.IsComputed() && !r.Inputs["kubeconfig"].IsComputed() {
		return plugin.Diff{}, fmt.Errorf("unexpected kubeconfig format, type: %v", old.TypeString())
	}
	before, after := plugin.Text(r.OldInputs["clusterIdentifier"]), plugin.Text(r.Inputs["clusterIdentifier"])
	replaces := []string{"kubeconfig", "context", "cluster"}
	if before != "" && after != "" {
		replaces = []string{"clusterIdentifier"}
	}
	return plugin.Compare(r.OldInputs, r.Inputs, func(property string) bool {
		return slices.Contains(replaces, property)
	}), nil
}

// cluster connects to the configured cluster. Every error is an unreachableError.
func (s *session) cluster(ctx context.Context) (Cluster, error) {
	endpoint, err := ParseKubeconfig(s.config.kubeconfig, s.config.context, s.config.cluster)
	if err == nil {
		var cluster Cluster
		if cluster, err = s.connect(ctx, endpoint); err == nil {
			return cluster, nil
		}
	}
	return nil, &unreachableError{err}
}

// namespace returns the namespace for objects that do not set one: the provider's, the kubeconfig context's, or
// "default".
func (s *session) namespace() string {
	if s.config.namespace != "" {
		return s.config.namespace
	}
	if endpoint, err := ParseKubeconfig(s.config.kubeconfig, s.config.context, s.config.cluster); err == nil && endpoint.Namespace != "" {
		return endpoint.Namespace
	}
	return "default"
}

// unreachableError reports that the configured cluster cannot be reached.
type unreachableError struct{ reason error }

func (e *unreachableError) Error() string {
	return "configured Kubernetes cluster is unreachable: " + e.reason.Error()
}

func (e *unreachableError) Unwrap() error { return e.reason }
