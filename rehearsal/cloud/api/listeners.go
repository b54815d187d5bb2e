package api

import (
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"eco2/rehearsal/cloud/aws"
)

// defaultPolicy is the security policy of an HTTPS listener that sets none.
const defaultPolicy = "ELBSecurityPolicy-2016-08"

// childARN returns the ARN of a part of a resource: of a listener of a load balancer, or of a rule of a listener.
func childARN(arn, kind, part string) string {
	before, path, _ := strings.Cut(arn, "/")
	return before[:strings.LastIndex(before, ":")+1] + kind + "/" + path + "/" + part
}

// listener finds a listener and its load balancer.
func (c *call) listener(arn *string) (b aws.LoadBalancer, l *aws.Listener, err error) {
	balancers, err := c.account.LoadBalancers()
	if err != nil {
		return b, nil, err
	}
	for _, b := range balancers {
		for i := range b.Listeners {
			if b.Listeners[i].ARN == value(arn) {
				return b, &b.Listeners[i], nil
			}
		}
	}
	return b, nil, refuse("ListenerNotFound", "One or more listeners not found: '%s'", value(arn))
}

// authorizedListener finds a listener, if the caller's role allows the action on it.
func (c *call) authorizedListener(arn *string, action string) (aws.LoadBalancer, *aws.Listener, error) {
	b, l, err := c.listener(arn)
	if err != nil {
		return b, nil, err
	}
	return b, l, c.authorize(elbService+":"+action, l.ARN, tags(resourceTag, l.Tags))
}

func (c *call) createListener(in *elasticloadbalancingv2.CreateListenerInput) (*elasticloadbalancingv2.CreateListenerOutput, error) {
	b, err := c.balancer(in.LoadBalancerArn)
	if err != nil {
		return nil, err
	}
	given := elbTagMap(in.Tags)
	if err := c.authorizeCreate("CreateListener", b.ARN, b.Tags, childARN(b.ARN, "listener", "*"), given); err != nil {
		return nil, err
	}
	l := aws.Listener{ARN: childARN(b.ARN, "listener", aws.RandomHex(16)), Tags: given}
	if err := c.updateListener(b, &l, listenerInput{in.Port, in.Protocol, in.SslPolicy, in.Certificates, in.DefaultActions}); err != nil {
		return nil, err
	}
	b.Listeners = append(b.Listeners, l)
	return &elasticloadbalancingv2.CreateListenerOutput{Listeners: []types.Listener{describedListener(b, l)}}, c.account.PutLoadBalancer(b)
}

func (c *call) modifyListener(in *elasticloadbalancingv2.ModifyListenerInput) (*elasticloadbalancingv2.ModifyListenerOutput, error) {
	b, l, err := c.authorizedListener(in.ListenerArn, "ModifyListener")
	if err != nil {
		return nil, err
	}
	if err := c.updateListener(b, l, listenerInput{in.Port, in.Protocol, in.SslPolicy, in.Certificates, in.DefaultActions}); err != nil {
		return nil, err
	}
	return &elasticloadbalancingv2.ModifyListenerOutput{Listeners: []types.Listener{describedListener(b, *l)}}, c.account.PutLoadBalancer(b)
}

// listenerInput holds the settings that CreateListener and ModifyListener have in common. A nil field leaves the
// setting unchanged.
type listenerInput struct {
	port         *int32
	protocol     types.ProtocolEnum
	policy       *string
	certificates []types.Certificate
	actions      []types.Action
}

// updateListener applies and validates settings of a listener. A certificate replaces the previous default certificate.
func (c *call) updateListener(b aws.LoadBalancer, l *aws.Listener, in listenerInput) error {
	if in.port != nil {
		l.Port = int(*in.port)
	}
	if in.protocol != "" {
		l.Protocol = string(in.protocol)
	}
	if in.policy != nil {
		l.SSLPolicy = *in.policy
	}
	if len(in.certificates) > 1 {
		return refuse("ValidationError", "Up to '1' certificate ARNs can be specified, but '%d' were specified", len(in.certificates))
	}
	for _, certificate := range in.certificates {
		arn := value(certificate.CertificateArn)
		if err := c.checkCertificate(arn); err != nil {
			return err
		}
		further := slices.DeleteFunc(slices.Clone(l.CertificateARNs[min(1, len(l.CertificateARNs)):]), func(other string) bool { return other == arn })
		l.CertificateARNs = append([]string{arn}, further...)
	}
	if in.actions != nil {
		actions, err := c.completeActions(in.actions)
		if err != nil {
			return err
		}
		l.Default = actions
	}
	secure := l.Protocol == "HTTPS"
	switch {
	case l.Port < 1 || l.Port > 65535:
		return refuse("ValidationError", "Port '%d' is not within 1-65535", l.Port)
	case slices.ContainsFunc(b.Listeners, func(is aws.Listener) bool { return is.Port == l.Port && is.ARN != l.ARN }):
		return refuse("DuplicateListener", "A listener already exists on this port for this load balancer '%s'", b.ARN)
	case l.Protocol != "HTTP" && !secure:
		return refuse("ValidationError", "'%s' is not a protocol of an application load balancer: HTTP, HTTPS", l.Protocol)
	case secure && len(l.CertificateARNs) == 0:
		return refuse("ValidationError", "A certificate must be specified for HTTPS listeners")
	case !secure && (len(l.CertificateARNs) > 0 || l.SSLPolicy != ""):
		return refuse("ValidationError", "Certificates and security policies are for HTTPS listeners")
	case len(l.Default) == 0:
		return refuse("ValidationError", "A default action must be specified")
	}
	if secure && l.SSLPolicy == "" {
		l.SSLPolicy = defaultPolicy
	}
	if secure && aws.MinimumTLS[l.SSLPolicy] == 0 {
		return refuse("SSLPolicyNotFound", "SSL policy '%s' not found", l.SSLPolicy)
	}
	return nil
}

// checkCertificate rejects a certificate that does not exist or is not issued.
func (c *call) checkCertificate(arn string) error {
	certificates, err := c.account.Certificates()
	at := slices.IndexFunc(certificates, func(c aws.Certificate) bool { return c.ARN == arn })
	switch {
	case err != nil:
		return err
	case at < 0:
		return refuse("CertificateNotFound", "Certificate ARN '%s' not found", arn)
	case certificates[at].Status != "ISSUED":
		return refuse("UnsupportedCertificate", "The certificate '%s' must have a fully-qualified domain name, a supported signature, and a supported key size: it is %s", arn, certificates[at].Status)
	}
	return nil
}

func describedListener(b aws.LoadBalancer, l aws.Listener) types.Listener {
	described := types.Listener{
		ListenerArn: &l.ARN, LoadBalancerArn: &b.ARN, Port: number(l.Port), Protocol: types.ProtocolEnum(l.Protocol), DefaultActions: l.Default,
	}
	if l.SSLPolicy != "" {
		described.SslPolicy = &l.SSLPolicy
	}
	if len(l.CertificateARNs) > 0 {
		described.Certificates = []types.Certificate{{CertificateArn: &l.CertificateARNs[0]}}
	}
	return described
}

func (c *call) describeListeners(in *elasticloadbalancingv2.DescribeListenersInput) (*elasticloadbalancingv2.DescribeListenersOutput, error) {
	if err := c.authorize(elbService+":DescribeListeners", "*", nil); err != nil {
		return nil, err
	}
	out := &elasticloadbalancingv2.DescribeListenersOutput{Listeners: []types.Listener{}}
	for _, arn := range in.ListenerArns {
		b, l, err := c.listener(&arn)
		if err != nil {
			return nil, err
		}
		out.Listeners = append(out.Listeners, describedListener(b, *l))
	}
	if in.LoadBalancerArn == nil {
		return out, nil
	}
	b, err := c.balancer(in.LoadBalancerArn)
	for _, l := range b.Listeners {
		out.Listeners = append(out.Listeners, describedListener(b, l))
	}
	return out, err
}

func (c *call) deleteListener(in *elasticloadbalancingv2.DeleteListenerInput) (*elasticloadbalancingv2.DeleteListenerOutput, error) {
	b, l, err := c.authorizedListener(in.ListenerArn, "DeleteListener")
	if err != nil {
		return nil, err
	}
	arn := l.ARN // DeleteFunc moves another listener to where l points
	b.Listeners = slices.DeleteFunc(b.Listeners, func(is aws.Listener) bool { return is.ARN == arn })
	return &elasticloadbalancingv2.DeleteListenerOutput{}, c.account.PutLoadBalancer(b)
}

func (c *call) describeListenerAttributes(in *elasticloadbalancingv2.DescribeListenerAttributesInput) (*elasticloadbalancingv2.DescribeListenerAttributesOutput, error) {
	if err := c.authorize(elbService+":DescribeListenerAttributes", "*", nil); err != nil {
		return nil, err
	}
	_, _, err := c.listener(in.ListenerArn)
	return &elasticloadbalancingv2.DescribeListenerAttributesOutput{Attributes: []types.ListenerAttribute{
		{Key: pointer("routing.http.response.server.enabled"), Value: pointer("true")},
	}}, err
}

func (c *call) describeListenerCertificates(in *elasticloadbalancingv2.DescribeListenerCertificatesInput) (*elasticloadbalancingv2.DescribeListenerCertificatesOutput, error) {
	if err := c.authorize(elbService+":DescribeListenerCertificates", "*", nil); err != nil {
		return nil, err
	}
	_, l, err := c.listener(in.ListenerArn)
	if err != nil {
		return nil, err
	}
	out := &elasticloadbalancingv2.DescribeListenerCertificatesOutput{Certificates: []types.Certificate{}}
	for i, arn := range l.CertificateARNs {
		out.Certificates = append(out.Certificates, types.Certificate{CertificateArn: &arn, IsDefault: pointer(i == 0)})
	}
	return out, nil
}

func (c *call) addListenerCertificates(in *elasticloadbalancingv2.AddListenerCertificatesInput) (*elasticloadbalancingv2.AddListenerCertificatesOutput, error) {
	b, l, err := c.authorizedListener(in.ListenerArn, "AddListenerCertificates")
	if err != nil {
		return nil, err
	}
	for _, certificate := range in.Certificates {
		arn := value(certificate.CertificateArn)
		if err := c.checkCertificate(arn); err != nil {
			return nil, err
		}
		if !slices.Contains(l.CertificateARNs, arn) {
			l.CertificateARNs = append(l.CertificateARNs, arn)
		}
	}
	return &elasticloadbalancingv2.AddListenerCertificatesOutput{Certificates: in.Certificates}, c.account.PutLoadBalancer(b)
}

func (c *call) removeListenerCertificates(in *elasticloadbalancingv2.RemoveListenerCertificatesInput) (*elasticloadbalancingv2.RemoveListenerCertificatesOutput, error) {
	b, l, err := c.authorizedListener(in.ListenerArn, "RemoveListenerCertificates")
	if err != nil {
		return nil, err
	}
	for _, certificate := range in.Certificates {
		at := slices.Index(l.CertificateARNs, value(certificate.CertificateArn))
		if at == 0 {
			return nil, refuse("OperationNotPermitted", "The default certificate of a listener cannot be removed")
		}
		if at > 0 {
			l.CertificateARNs = slices.Delete(l.CertificateARNs, at, at+1)
		}
	}
	return &elasticloadbalancingv2.RemoveListenerCertificatesOutput{}, c.account.PutLoadBalancer(b)
}
