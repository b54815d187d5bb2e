package platform

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apiextensions"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/component"
	"eco2/infra"
)

// parameterAccess is the name of the admission policy that limits which SSM parameters a namespace may read.
const parameterAccess = "parameter-access"

// readableParameters returns, by namespace, the beginnings of the names of the SSM parameters that its ExternalSecrets
// may read: those below the namespace's own name, and of those that the program stores what the namespace needs.
func readableParameters(prefix string) map[string][]string {
	readable := map[string][]string{monitoring: {prefix + "/platform/"}}
	withoutSecrets := []string{prefix + "/network/", prefix + "/cluster/", prefix + "/ingress/"}
	for _, name := range infra.Domains() {
		readable[name] = append(slices.Clone(withoutSecrets), prefix+"/data/") // APIs log in to the databases
	}
	for _, name := range dataNamespaces {
		readable[name] = append(slices.Clone(withoutSecrets), prefix+"/data/"+name+"-")
	}
	for name := range readable {
		readable[name] = append(readable[name], prefix+"/"+name+"/")
	}
	return readable
}

// newParameterAccess declares the admission policy. It returns when the API server has the policy and its binding.
//
// External Secrets reads every parameter with the same role, and its own limits are not enough. A store's `prefix` is
// ignored by `dataFrom.find`. A namespace can declare a SecretStore of its own, without any limit. And a generator, such
// as Webhook, sends requests from External Secrets' pod, which reaches the metadata service with the role's credentials.
// So the API server refuses all of these, and ExternalSecrets for parameters of other namespaces.
func newParameterAccess(ctx *pulumi.Context, s *shared, parent component.Component) (pulumi.Resource, error) {
	readable, err := json.Marshal(readableParameters(s.config.ParameterPrefix))
	if err != nil {
		return nil, fmt.Errorf("listing the parameters of each namespace: %w", err)
	}
	policy, err := admissionObject(ctx, s, parent, "ValidatingAdmissionPolicy", values{
		"failurePolicy": "Fail",
		"matchConstraints": values{"resourceRules": []values{{
			"apiGroups":   []string{"external-secrets.io", "generators.external-secrets.io"},
			"apiVersions": []string{"*"},
			"operations":  []string{"CREATE", "UPDATE"},
			"resources":   []string{"*"},
			// Only administrators may create kinds of another scope.
			"scope": "Namespaced",
		}}},
		// An object from before this policy must be deletable, and External Secrets then updates its finalizers.
		"matchConditions": []values{{"name": "not-being-deleted", "expression": "!has(object.metadata.deletionTimestamp)"}},
		"variables": []values{
			{"name": "namespaces", "expression": string(readable)}, // JSON is valid CEL
			{"name": "readable", "expression": "request.namespace in variables.namespaces ? " +
				"variables.namespaces[request.namespace] : []"},
			{"name": "data", "expression": "object.spec.?data.orValue([])"},
			{"name": "dataFrom", "expression": "object.spec.?dataFrom.orValue([])"},
			{"name": "parameters", "expression": "variables.data.map(d, d.remoteRef.key) + " +
				"variables.dataFrom.filter(d, has(d.extract)).map(d, d.extract.key)"},
			{"name": "refused", "expression": "variables.parameters.filter(p, " +
				"!variables.readable.exists(beginning, p.startsWith(beginning)))"},
		},
		"validations": []values{
			{
				"expression": "request.resource.resource == 'externalsecrets'",
				"message":    "in this cluster only ExternalSecrets may be created, which read through the ClusterSecretStore " + secretStoreName,
				"reason":     "Forbidden",
			},
			{
				"expression": "variables.dataFrom.all(d, has(d.extract) && !has(d.find) && !has(d.sourceRef)) && " +
					"variables.data.all(d, !has(d.sourceRef))",
				"message": "find and sourceRef are not allowed: name each parameter in remoteRef.key or extract.key",
				"reason":  "Forbidden",
			},
			{
				"expression": "size(variables.refused) == 0",
				"messageExpression": "'namespace ' + request.namespace + ' may not read parameter ' + variables.refused[0] + " +
					"(size(variables.readable) == 0 ? '' : ', only those whose names begin with: ' + variables.readable.join(', '))",
				"reason": "Forbidden",
			},
		},
	})
	if err != nil {
		return nil, err
	}
	return admissionObject(ctx, s, parent, "ValidatingAdmissionPolicyBinding", values{
		"policyName": parameterAccess, "validationActions": []string{"Deny"},
	}, policy)
}

// admissionObject declares the policy or its binding.
func admissionObject(
	ctx *pulumi.Context, s *shared, parent component.Component, kind string, spec values, after ...pulumi.Resource,
) (pulumi.Resource, error) {
	object, err := apiextensions.NewCustomResource(ctx, parameterAccess, &apiextensions.CustomResourceArgs{
		ApiVersion:  pulumi.String("admissionregistration.k8s.io/v1"),
		Kind:        pulumi.String(kind),
		Metadata:    metav1.ObjectMetaArgs{Name: pulumi.String(parameterAccess)},
		OtherFields: kubernetes.UntypedArgs{"spec": spec.input()},
	}, s.object(parent, after...))
	if err != nil {
		return nil, fmt.Errorf("creating %s %s: %w", kind, parameterAccess, err)
	}
	return object, nil
}
