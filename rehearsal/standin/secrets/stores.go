package secrets

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	awsclient "eco2/rehearsal/cloud/client"
)

// A valid store is validated again after recheck. Failed stores and ExternalSecrets are retried after retry.
const (
	recheck = 5 * time.Minute
	retry   = 10 * time.Second
)

// AWS calls the AWS API. The controller uses SSM only.
type AWS interface {
	Region() string
	Call(ctx context.Context, service, target string, in, out any) error
}

// stores reconciles ClusterSecretStores: it validates each.
type stores struct {
	cluster client.Client
	events  events.EventRecorder
	aws     AWS
}

// Reconcile sets a store's condition.
func (s stores) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	store := object(storeKind)
	if err := s.cluster.Get(ctx, request.NamespacedName, store); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	c, again := condition{Status: corev1.ConditionTrue, Reason: "Valid", Message: "store validated"}, recheck
	spec, err := readStore(store)
	if err == nil {
		err = s.usable(ctx, spec)
	}
	kind := corev1.EventTypeNormal
	if err != nil {
		c, again = condition{Status: corev1.ConditionFalse, Reason: "InvalidProviderConfig", Message: err.Error()}, retry
		kind = corev1.EventTypeWarning
	}
	changed, err := setReady(ctx, s.cluster, store, c, map[string]any{"capabilities": "ReadOnly"})
	if changed {
		s.events.Eventf(store, nil, kind, c.Reason, "Validate", "%s", c.Message)
	}
	return reconcile.Result{RequeueAfter: again}, err
}

// probed is the name of a parameter that does not exist and that nobody may read. AWS reports either only to a caller
// with valid credentials.
const probed = "external-secrets-asks-whether-it-is-known"

// usable checks that the store's service answers. Upstream checks only that there are credentials.
func (s stores) usable(ctx context.Context, spec storeSpec) error {
	if region := spec.Provider.AWS.Region; region != s.aws.Region() {
		return fmt.Errorf("the store's region is %s, but the rehearsal has %s only", region, s.aws.Region())
	}
	_, err := parameter(ctx, s.aws, probed)
	var refused *awsclient.Error
	if errors.As(err, &refused) && (refused.Code == "ParameterNotFound" || refused.Code == "AccessDeniedException") {
		return nil
	}
	return err
}

// parameter returns the value of an SSM parameter. Its errors do not contain the value.
func parameter(ctx context.Context, aws AWS, name string) (string, error) {
	in := struct {
		Name           string
		WithDecryption bool
	}{name, true}
	var out struct {
		Parameter struct{ Value string }
	}
	if err := aws.Call(ctx, "ssm", "AmazonSSM.GetParameter", in, &out); err != nil {
		return "", fmt.Errorf("reading parameter %s: %w", name, err)
	}
	return out.Parameter.Value, nil
}

// ready reports whether the condition Ready of a store or an ExternalSecret is true.
func ready(o *unstructured.Unstructured) bool {
	return readyCondition(o).Status == corev1.ConditionTrue
}
