package describe

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	networkingv1 "k8s.io/api/networking/v1"

	"eco2/rehearsal/cloud/aws"
)

// Annotation is the prefix of the controller's annotations.
const Annotation = "alb.ingress.kubernetes.io/"

// settings holds the settings in the annotations of one Ingress.
type settings struct {
	internetFacing bool
	// subnets are IDs; if there are none, subnets are discovered by their tags.
	subnets        []string
	securityGroups []string
	certificates   []string
	// listeners have only a port and a protocol.
	listeners []aws.Listener
	// redirect is the HTTPS port that HTTP redirects to, or 0.
	redirect int
	// target holds the settings of all target groups of the Ingress.
	target aws.TargetGroup
	// actions holds the actions to which paths may refer instead of a Service, by name.
	actions map[string]types.Action
}

// parseAnnotations parses the annotations of an Ingress. It rejects annotations that it does not support, as ignoring
// them could be wrong.
func parseAnnotations(ingress *networkingv1.Ingress) (settings, error) {
	w := settings{actions: map[string]types.Action{}, target: aws.TargetGroup{Protocol: "HTTP", HealthCheck: aws.HealthCheck{Protocol: "HTTP", Port: "traffic-port", Path: "/", Codes: "200"}}}
	var problems []error
	for _, key := range slices.Sorted(maps.Keys(ingress.Annotations)) {
		name, found := strings.CutPrefix(key, Annotation)
		if !found {
			continue
		}
		value, err := ingress.Annotations[key], error(nil)
		switch name {
		case "group.name": // the caller has already grouped by it
		case "scheme":
			w.internetFacing = value == "internet-facing"
			err = oneOf(value, "internet-facing", "internal")
		case "target-type":
			err = oneOf(value, "instance")
		case "subnets":
			w.subnets, err = subnetIDs(value)
		case "security-groups":
			w.securityGroups = list(value)
		case "certificate-arn":
			w.certificates = list(value)
		case "listen-ports":
			w.listeners, err = listeners(value)
		case "ssl-redirect":
			w.redirect, err = strconv.Atoi(value)
		case "backend-protocol":
			w.target.Protocol = value
			err = oneOf(value, "HTTP", "HTTPS")
		case "healthcheck-protocol":
			w.target.HealthCheck.Protocol = value
			err = oneOf(value, "HTTP", "HTTPS")
		case "healthcheck-path":
			w.target.HealthCheck.Path = value
		case "success-codes":
			w.target.HealthCheck.Codes = value
		default:
			action, found := strings.CutPrefix(name, "actions.")
			if !found {
				err = errors.New("the model of the controller does not support it")
				break
			}
			w.actions[action], err = redirect(value)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("annotation %s: %w", key, err))
		}
	}
	switch {
	case len(w.listeners) > 0:
	case len(w.certificates) > 0:
		w.listeners = []aws.Listener{{Port: 443, Protocol: "HTTPS"}}
	default:
		w.listeners = []aws.Listener{{Port: 80, Protocol: "HTTP"}}
	}
	if err := errors.Join(problems...); err != nil {
		return settings{}, fmt.Errorf("ingress %s/%s: %w", ingress.Namespace, ingress.Name, err)
	}
	return w, nil
}

func oneOf(value string, known ...string) error {
	if !slices.Contains(known, value) {
		return fmt.Errorf("%q is not one of %s", value, strings.Join(known, ", "))
	}
	return nil
}

// subnetIDs parses a list of subnets. The real controller accepts names, too.
func subnetIDs(value string) ([]string, error) {
	ids := list(value)
	for _, id := range ids {
		if !strings.HasPrefix(id, "subnet-") {
			return nil, fmt.Errorf("%q is not the ID of a subnet; the model of the controller does not support names", id)
		}
	}
	return slices.Sorted(slices.Values(ids)), nil
}

func list(value string) (parts []string) {
	for part := range strings.SplitSeq(value, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

// redirect parses an action that redirects, for example {"type":"redirect","redirectConfig":{"port":"8443"}}.
func redirect(value string) (action types.Action, err error) {
	decoder := json.NewDecoder(strings.NewReader(value))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&action); err != nil {
		return action, err
	}
	if action.Type != types.ActionTypeEnumRedirect || action.RedirectConfig == nil || action.RedirectConfig.Port == nil {
		return action, errors.New("the model of the controller supports only actions that redirect to a port")
	}
	return action, nil
}

// listeners parses, for example, [{"HTTP": 80}, {"HTTPS": 443}].
func listeners(value string) (ports []aws.Listener, err error) {
	var entries []map[string]int
	if err := json.Unmarshal([]byte(value), &entries); err != nil {
		return nil, err
	}
	for _, entry := range entries {
		for protocol, port := range entry {
			if err := oneOf(protocol, "HTTP", "HTTPS"); err != nil {
				return nil, err
			}
			ports = append(ports, aws.Listener{Port: port, Protocol: protocol})
		}
	}
	return ports, nil
}
