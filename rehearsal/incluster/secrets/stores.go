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

	awsclient "eco2/rehearsal/awsapi/client"
)

// A store is looked at again after recheck, and what failed is tried again after retry.
const (
	recheck = 5 * time.Minute
	retry   = 10 * time.Second
)

// AWS is what the controller asks of it.
type AWS interface {
	Region() string
	Call(ctx context.Context, service, target string, in, out any) error
}

// stores says of each ClusterSecretStore whether it can be used.
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

// probed is a parameter that there is not, and that nobody may read. To be told either, one must have been known.
const probed = "external-secrets-asks-whether-it-is-known"

// usable asks the store's service. Upstream is content with having credentials.
func (s stores) usable(ctx context.Context, spec storeSpec) error {
	if region := spec.Provider.AWS.Region; region != s.aws.Region() {
		return fmt.Errorf("the store is in %s, and the rehearsal has only %s", region, s.aws.Region())
	}
	_, err := parameter(ctx, s.aws, probed)
	var refused *awsclient.Error
	if errors.As(err, &refused) && (refused.Code == "ParameterNotFound" || refused.Code == "AccessDeniedException") {
		return nil
	}
	return err
}

// parameter is the value of one of SSM's. No error has it.
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

// ready says whether a store can be used.
func ready(store *unstructured.Unstructured) bool {
	return readyCondition(store).Status == corev1.ConditionTrue
}
