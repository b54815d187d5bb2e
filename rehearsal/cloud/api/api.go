// Package api serves the model of AWS over AWS's API, for the controllers in a cluster. It identifies a caller by
// the signature of the request, which leads to the role of the caller's node, and allows what the role's policies
// allow.
//
// It speaks AWS's own protocols, so that AWS's SDKs can call it. It rejects unsupported operations, parameters and
// filters, and settings that would have no effect. Only for EC2's volumes are the operations custom, in package ebs.
package api

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cloud/client/ebs"
)

// maxBody is the maximum size of a request's body.
const maxBody = 1 << 20

// The services that speak JSON and REST.
const (
	ssmService = "ssm"
	acmService = "acm"
	dnsService = "route53"
)

// New returns an API for the instances of a VPC. It serves all services, as the signature of a request names the
// service.
func New(account *aws.Account, vpc string) *API {
	return &API{account: account, vpc: vpc, usage: usage{}}
}

// API is an http.Handler that serves the API of an account.
type API struct {
	account *aws.Account
	vpc     string
	// See Caller.Provision and Caller.Release.
	provision, release time.Duration

	// mu serializes calls, so that no call sees another one's changes half done.
	mu       sync.Mutex
	usage    usage
	denied   []string
	injected map[string]injectedFailure
}

// call is an authenticated request.
type call struct {
	*API
	service string
	// action is the name of the operation, for the Query protocol only.
	action  string
	region  string
	session aws.Session
	grants  grants
	// tried lists the actions that were checked against the policies, for the log.
	tried []string
}

// refusal is an error response of a service.
type refusal struct{ code, message string }

func (r *refusal) Error() string { return r.code + ": " + r.message }

func refuse(code, format string, args ...any) error {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	c, err := a.authenticate(r, body)
	var answer any
	if err == nil {
		answer, err = c.handle(r, body)
	}
	a.logCall(r, c, err)
	switch {
	case strings.HasPrefix(r.URL.Path, dnsVersion):
		writeXML(w, answer, err)
	case isForm(r) && c == nil:
		writeQuery(w, "", "", answer, err)
	case isForm(r):
		writeQuery(w, c.service, c.action, answer, err)
	default:
		writeJSON(w, answer, err)
	}
}

// isForm reports whether a request uses the Query protocol.
func isForm(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded")
}

// authenticate identifies the caller by the signature.
func (a *API) authenticate(r *http.Request, body []byte) (*call, error) {
	signed, ok := parseSignature(r)
	if !ok {
		return nil, refuse("MissingAuthenticationTokenException", "Missing Authentication Token")
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if strings.HasSuffix(host, ".amazonaws.com") && !strings.HasPrefix(host, signed.service+".") {
		return nil, refuse("SignatureDoesNotMatch", "Credential should be scoped to correct service: '%s'.", strings.SplitN(host, ".", 2)[0])
	}
	instances, err := a.account.Instances()
	if err != nil {
		return nil, err
	}
	for _, instance := range instances {
		if instance.VPCID != a.vpc {
			continue
		}
		session, ok, err := a.account.SessionOf(instance)
		if err != nil {
			return nil, err
		}
		if !ok || session.AccessKeyID != signed.accessKeyID {
			continue
		}
		if err := signed.verify(r, body, session); err != nil {
			return nil, err
		}
		granted, err := a.policiesOf(session.Role)
		return &call{API: a, service: signed.service, region: signed.region, session: session, grants: granted}, err
	}
	return nil, refuse("UnrecognizedClientException", "The security token included in the request is invalid.")
}

func (a *API) policiesOf(role string) (granted grants, err error) {
	policies, err := a.account.PoliciesOf(role)
	if err != nil {
		return nil, err
	}
	for _, p := range policies {
		text := p.Document
		if text == "" {
			if text = managedPolicies[p.Name]; text == "" {
				return nil, fmt.Errorf("reading policy %s: the rehearsal does not have AWS's document of it", p.Name)
			}
		}
		document, err := parsePolicy(p.Name, text)
		if err != nil {
			return nil, err
		}
		granted = append(granted, document)
	}
	return granted, nil
}

// handle runs the operation that a request names.
func (c *call) handle(r *http.Request, body []byte) (any, error) {
	if c.service == dnsService {
		return c.route53(r, body)
	}
	if isForm(r) {
		return c.query(body)
	}
	if len(body) == 0 || string(body) == "null" {
		body = []byte("{}")
	}
	operation, ok := operations[r.Header.Get("X-Amz-Target")]
	if !ok || operation.service != c.service {
		return nil, refuse("UnknownOperationException", "%s is not an operation that the rehearsal's %s supports", r.Header.Get("X-Amz-Target"), c.service)
	}
	return operation.run(c, body)
}

// operation is an operation of a service that speaks JSON.
type operation struct {
	service string
	run     func(c *call, body []byte) (any, error)
}

var operations = map[string]operation{
	"AmazonSSM.GetParameter": {ssmService, jsonOperation((*call).getParameter)},

	"CertificateManager.DescribeCertificate": {acmService, jsonOperation((*call).describeCertificate)},
	"CertificateManager.ListCertificates":    {acmService, jsonOperation((*call).listCertificates)},

	ebs.DescribeVolumes: {ebs.Service, jsonOperation((*call).describeVolumes)},
	ebs.CreateVolume:    {ebs.Service, jsonOperation((*call).createVolume)},
	ebs.DeleteVolume:    {ebs.Service, jsonOperation((*call).deleteVolume)},
	ebs.AttachVolume:    {ebs.Service, jsonOperation((*call).attachVolume)},
	ebs.DetachVolume:    {ebs.Service, jsonOperation((*call).detachVolume)},
}

// jsonOperation decodes an operation's input and runs it. It rejects unknown fields, as ignoring them could be wrong.
func jsonOperation[In, Out any](run func(*call, In) (Out, error)) func(*call, []byte) (any, error) {
	return func(c *call, body []byte) (any, error) {
		var input In
		decoder := json.NewDecoder(strings.NewReader(string(body)))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&input); err != nil {
			return nil, refuse("SerializationException", "%v", err)
		}
		return run(c, input)
	}
}

// tags returns the condition keys for the tags of a request, a resource or a caller. The key is "aws:RequestTag",
// "aws:ResourceTag" or "aws:PrincipalTag".
func tags(key string, values map[string]string) map[string][]string {
	context := map[string][]string{}
	for name, value := range values {
		context[key+"/"+name] = []string{value}
	}
	return context
}

// denials holds the error code of each service for a denied action, and the text before the message; the default is
// AccessDenied and no text.
var denials = map[string]struct{ code, before string }{
	ssmService: {code: "AccessDeniedException"},
	acmService: {code: "AccessDeniedException"},
	ec2Service: {code: "UnauthorizedOperation", before: "You are not authorized to perform this operation. "},
}

// authorize returns the service's error if the caller's role does not allow an action.
func (c *call) authorize(action, resource string, context map[string][]string) error {
	c.tried = append(c.tried, action)
	known := tags("aws:PrincipalTag", c.session.Tags)
	maps.Copy(known, context)
	reason, by := c.grants.evaluate(request{action, resource, known})
	if reason == "" {
		c.usage.record(by, action)
		return nil
	}
	if said := fmt.Sprintf("%s on %s %s", action, resource, reason); !slices.Contains(c.denied, said) {
		c.denied = append(c.denied, said)
	}
	service, _, _ := strings.Cut(action, ":")
	denial := denials[service]
	return refuse(cmp.Or(denial.code, "AccessDenied"), "%sUser: %s is not authorized to perform: %s on resource: %s %s",
		denial.before, c.session.ARN(), action, resource, reason)
}

// arn returns the ARN of a resource in the call's region.
func (c *call) arn(service, resource string) string {
	return fmt.Sprintf("arn:aws:%s:%s:%s:%s", service, c.region, aws.AccountID, resource)
}

// logCall logs a call: the actions, the caller and the outcome. It does not log input and output, which may contain
// secrets.
func (a *API) logCall(r *http.Request, c *call, err error) {
	what, who, outcome := r.Header.Get("X-Amz-Target"), r.RemoteAddr, "ok"
	if c != nil && c.action != "" {
		what = c.action
	}
	if what == "" {
		what = r.Method + " " + r.URL.Path
	}
	if c != nil {
		who = c.session.Role + "/" + c.session.Instance.ID
		if len(c.tried) > 0 {
			what = strings.Join(c.tried, " ")
		}
	}
	if err != nil {
		outcome = err.Error()
	}
	log.Printf("%s: %s: %s", who, what, outcome)
}

// errorResponse returns the status and the error that a caller gets. An error of the model itself is an internal
// failure of the service.
func errorResponse(err error) (status int, r refusal) {
	var own *refusal
	if errors.As(err, &own) {
		return http.StatusBadRequest, *own
	}
	if code, message, ok := aws.Refused(err); ok {
		return http.StatusBadRequest, refusal{code, message}
	}
	return http.StatusInternalServerError, refusal{"InternalFailure", err.Error()}
}

func writeJSON(w http.ResponseWriter, answer any, err error) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if err != nil {
		status, r := errorResponse(err)
		w.WriteHeader(status)
		answer = map[string]string{"__type": r.code, "message": r.message}
	}
	_ = json.NewEncoder(w).Encode(answer) // fails only if the caller has disconnected
}
