// Package awsapi is the model of AWS as its API: what the controllers in a cluster call. A caller is known by the
// signature of his request, which leads to the role of his node, and may do what the role's policies say.
//
// It speaks AWS's own protocols, for clients that are the real ones, and refuses what it does not know: operations,
// parameters, filters, and settings that nothing would act on. Only EC2's volumes have operations of the rehearsal's,
// in package ebs.
package awsapi

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

	"eco2/rehearsal/aws"
	"eco2/rehearsal/awsapi/ebs"
)

// maxBody bounds a request.
const maxBody = 1 << 20

// The services that speak JSON and REST.
const (
	ssmService = "ssm"
	acmService = "acm"
	dnsService = "route53"
)

// New answers the instances of a VPC, whichever service they call: a signature names it.
func New(account *aws.Account, vpc string) *API {
	return &API{account: account, vpc: vpc, usage: usage{}}
}

// API implements http.Handler.
type API struct {
	account *aws.Account
	vpc     string
	// How long load balancers take: see Caller.
	provision, release time.Duration

	// What one call looks at is as another left it.
	mu       sync.Mutex
	usage    usage
	denied   []string
	refusals map[string]refusals
}

// call is a request whose caller is known.
type call struct {
	*API
	service string
	// action is the operation's name in the Query protocol.
	action  string
	region  string
	session aws.Session
	grants  grants
	// tried are the actions that it asked to be allowed, for the log.
	tried []string
}

// refusal is an error in a service's own words.
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
	c, err := a.known(r, body)
	var answer any
	if err == nil {
		answer, err = c.answer(r, body)
	}
	a.say(r, c, err)
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

// isForm says whether a request is in the Query protocol.
func isForm(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded")
}

// known finds out who calls.
func (a *API) known(r *http.Request, body []byte) (*call, error) {
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
		granted, err := a.granted(session.Role)
		return &call{API: a, service: signed.service, region: signed.region, session: session, grants: granted}, err
	}
	return nil, refuse("UnrecognizedClientException", "The security token included in the request is invalid.")
}

func (a *API) granted(role string) (granted grants, err error) {
	policies, err := a.account.PoliciesOf(role)
	if err != nil {
		return nil, err
	}
	for _, p := range policies {
		text := p.Document
		if text == "" {
			if text = managed[p.Name]; text == "" {
				return nil, fmt.Errorf("reading policy %s: the rehearsal does not know what AWS has in it", p.Name)
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

// answer does what is asked.
func (c *call) answer(r *http.Request, body []byte) (any, error) {
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
		return nil, refuse("UnknownOperationException", "%s is nothing that the rehearsal's %s can do", r.Header.Get("X-Amz-Target"), c.service)
	}
	return operation.run(c, body)
}

// operation is one of a service that speaks JSON.
type operation struct {
	service string
	run     func(c *call, body []byte) (any, error)
}

var operations = map[string]operation{
	"AmazonSSM.GetParameter":        {ssmService, in((*call).getParameter)},
	"AmazonSSM.GetParametersByPath": {ssmService, in((*call).getParametersByPath)},

	"CertificateManager.DescribeCertificate": {acmService, in((*call).describeCertificate)},
	"CertificateManager.ListCertificates":    {acmService, in((*call).listCertificates)},

	ebs.DescribeVolumes: {ebs.Service, in((*call).describeVolumes)},
	ebs.CreateVolume:    {ebs.Service, in((*call).createVolume)},
	ebs.DeleteVolume:    {ebs.Service, in((*call).deleteVolume)},
	ebs.AttachVolume:    {ebs.Service, in((*call).attachVolume)},
	ebs.DetachVolume:    {ebs.Service, in((*call).detachVolume)},
}

// in reads an operation's input. A field that is not known would be left undone.
func in[In, Out any](run func(*call, In) (Out, error)) func(*call, []byte) (any, error) {
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

// tags are a condition's keys for the tags of a request, of what it is about, or of who calls: "aws:RequestTag",
// "aws:ResourceTag", "aws:PrincipalTag".
func tags(key string, values map[string]string) map[string][]string {
	context := map[string][]string{}
	for name, value := range values {
		context[key+"/"+name] = []string{value}
	}
	return context
}

// denials are what a service says of a right that is missing; the others say AccessDenied, and nothing before.
var denials = map[string]struct{ code, before string }{
	ssmService: {code: "AccessDeniedException"},
	acmService: {code: "AccessDeniedException"},
	ec2Service: {code: "UnauthorizedOperation", before: "You are not authorized to perform this operation. "},
}

// may refuses what the caller's role is not allowed to do.
func (c *call) may(action, resource string, context map[string][]string) error {
	c.tried = append(c.tried, action)
	known := tags("aws:PrincipalTag", c.session.Tags)
	maps.Copy(known, context)
	reason, by := c.grants.judge(request{action, resource, known})
	if reason == "" {
		c.usage.note(by, action)
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

// arn names something of the account in the call's region.
func (c *call) arn(service, resource string) string {
	return fmt.Sprintf("arn:aws:%s:%s:%s:%s", service, c.region, aws.AccountID, resource)
}

// say logs a call: what was tried, by whom, and what became of it. What was sent and answered may be a secret.
func (a *API) say(r *http.Request, c *call, err error) {
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

// refused is what a caller is told of an error. What went wrong in the model is a failure of the service's.
func refused(err error) (status int, r refusal) {
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
		status, r := refused(err)
		w.WriteHeader(status)
		answer = map[string]string{"__type": r.code, "message": r.message}
	}
	_ = json.NewEncoder(w).Encode(answer) // a caller that left needs none
}
