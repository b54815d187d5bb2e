// Package imds is the instance metadata service of the rehearsal's machines, in both its versions: what AWS has at
// http://169.254.169.254. It knows a caller by the address that he comes from, so a pod that its node masquerades
// is taken for the node, as in AWS.
//
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-categories.html lists what there is. Here
// is what programs on a Kubernetes node ask for.
package imds

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/ipv4"

	"eco2/rehearsal/aws"
)

// Address is where every instance in AWS finds the service, at port 80.
const Address = "169.254.169.254"

const (
	tokenHeader = "X-aws-ec2-metadata-token"
	ttlHeader   = "X-aws-ec2-metadata-token-ttl-seconds"
	// maxTTL of a token is six hours.
	maxTTL = 21600
	// defaultTTL is the kernel's for packets, net.ipv4.ip_default_ttl.
	defaultTTL = 64
)

// Service answers the machines of one VPC.
type Service struct {
	account *aws.Account
	vpc     string

	mu     sync.Mutex
	tokens map[string]token
}

// token is good for the instance that asked for it.
type token struct {
	instance string
	expires  time.Time
}

// New answers the machines of a VPC from an account.
func New(account *aws.Account, vpc string) *Service {
	return &Service{account: account, vpc: vpc, tokens: map[string]token{}}
}

// Serve serves until the context ends.
func (s *Service) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })() // its connections are not worth waiting for
	if err := server.Serve(listener); ctx.Err() == nil {
		return fmt.Errorf("serving metadata: %w", err)
	}
	return nil
}

type connKey struct{}

// ServeHTTP implements http.Handler.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "EC2ws")
	instance, known, err := s.caller(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if !known {
		http.NotFound(w, r)
		return
	}
	// The limit is for tokens alone; without one the rest is of no use to whoever is further away.
	limit := defaultTTL
	isToken := r.URL.Path == "/latest/api/token"
	if isToken && r.Method == http.MethodPut {
		limit = instance.MetadataOptions.HopLimit
	}
	if err := setHops(r, limit); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	switch {
	case isToken && r.Method == http.MethodPut:
		s.newToken(w, r, instance)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
	case !s.allowed(r, instance):
		http.Error(w, "Unauthorized", http.StatusUnauthorized)
	default:
		s.answer(w, r, instance)
	}
}

// caller finds the machine that asks.
func (s *Service) caller(r *http.Request) (instance aws.Instance, known bool, err error) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return instance, false, fmt.Errorf("reading the caller's address: %w", err)
	}
	instances, err := s.account.Instances()
	if err != nil {
		return instance, false, err
	}
	i := slices.IndexFunc(instances, func(i aws.Instance) bool {
		return i.VPCID == s.vpc && i.PrivateIP == from.Addr().Unmap().String()
	})
	if i < 0 {
		return instance, false, nil
	}
	return instances[i], true, nil
}

// setHops sets how many hops the packets of the answer live. The connection itself was made with more, so that
// who is too far away waits for an answer that never comes.
func setHops(r *http.Request, hops int) error {
	conn, ok := r.Context().Value(connKey{}).(net.Conn)
	if !ok {
		return nil // a test's
	}
	if err := ipv4.NewConn(conn).SetTTL(hops); err != nil {
		return fmt.Errorf("setting the number of hops: %w", err)
	}
	return nil
}

func (s *Service) newToken(w http.ResponseWriter, r *http.Request, instance aws.Instance) {
	// AWS refuses what came through a proxy.
	if r.Header.Get("X-Forwarded-For") != "" {
		http.Error(w, "Forbidden", http.StatusForbidden)
		return
	}
	seconds, err := strconv.Atoi(r.Header.Get(ttlHeader))
	if err != nil || seconds < 1 || seconds > maxTTL {
		http.Error(w, "Bad Request", http.StatusBadRequest)
		return
	}
	text, now := rand.Text(), time.Now()
	s.mu.Lock()
	for old, t := range s.tokens {
		if now.After(t.expires) {
			delete(s.tokens, old)
		}
	}
	s.tokens[text] = token{instance.ID, now.Add(time.Duration(seconds) * time.Second)}
	s.mu.Unlock()
	w.Header().Set(ttlHeader, strconv.Itoa(seconds))
	_, _ = fmt.Fprint(w, text) // a caller that left needs none
}

// allowed: a token that is sent must be good; without one, only version 1 is left.
func (s *Service) allowed(r *http.Request, instance aws.Instance) bool {
	text := r.Header.Get(tokenHeader)
	if text == "" {
		return instance.MetadataOptions.Tokens != "required"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.tokens[text]
	return ok && t.instance == instance.ID && time.Now().Before(t.expires)
}

func (s *Service) answer(w http.ResponseWriter, r *http.Request, instance aws.Instance) {
	data, err := s.data(instance)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	// Any version that AWS ever had is "latest".
	_, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	text, ok := lookUp(data, strings.Trim(path, "/"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = fmt.Fprint(w, text) // likewise
}

// lookUp finds a value, or lists a directory as AWS does: a name with a slash is a directory.
func lookUp(data map[string]string, path string) (text string, ok bool) {
	if text, ok := data[path]; ok {
		return text, true
	}
	if path != "" {
		path += "/"
	}
	var names []string
	for key := range data {
		rest, below := strings.CutPrefix(key, path)
		if !below {
			continue
		}
		name, _, deeper := strings.Cut(rest, "/")
		if deeper {
			name += "/"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), "\n"), len(names) > 0
}

// data is all that an instance is told, by path.
func (s *Service) data(i aws.Instance) (map[string]string, error) {
	data := map[string]string{
		"meta-data/ami-id":                      i.Image,
		"meta-data/hostname":                    i.PrivateDNS,
		"meta-data/instance-id":                 i.ID,
		"meta-data/instance-life-cycle":         "on-demand",
		"meta-data/instance-type":               i.Type,
		"meta-data/local-hostname":              i.PrivateDNS,
		"meta-data/local-ipv4":                  i.PrivateIP,
		"meta-data/placement/availability-zone": i.AvailabilityZone,
		"meta-data/placement/region":            i.Region,
		"meta-data/services/domain":             "amazonaws.com",
		"meta-data/services/partition":          "aws",
	}
	if i.PublicIP != "" {
		data["meta-data/public-ipv4"], data["meta-data/public-hostname"] = i.PublicIP, i.PublicDNS
	}
	if i.UserData != "" {
		data["user-data"] = i.UserData
	}
	if err := s.addGroups(data, i); err != nil {
		return nil, err
	}
	if i.KeyName != "" {
		pair, _, err := s.account.KeyPair(i.Region, i.KeyName)
		if err != nil {
			return nil, err
		}
		data["meta-data/public-keys/0/openssh-key"] = pair.PublicKey
	}
	if err := s.addRole(data, i); err != nil {
		return nil, err
	}
	document, err := json.MarshalIndent(map[string]any{
		"accountId": aws.AccountID, "architecture": "x86_64", "availabilityZone": i.AvailabilityZone, "imageId": i.Image,
		"instanceId": i.ID, "instanceType": i.Type, "privateIp": i.PrivateIP, "region": i.Region, "version": "2017-09-30",
	}, "", "  ")
	data["dynamic/instance-identity/document"] = string(document)
	return data, err
}

func (s *Service) addGroups(data map[string]string, i aws.Instance) error {
	groups, err := s.account.Groups()
	if err != nil {
		return err
	}
	var names []string
	for _, g := range groups {
		if slices.Contains(i.SecurityGroupIDs, g.ID) {
			names = append(names, g.Name)
		}
	}
	slices.Sort(names)
	data["meta-data/security-groups"] = strings.Join(names, "\n")
	return nil
}

// addRole adds the credentials of the profile's role.
func (s *Service) addRole(data map[string]string, i aws.Instance) error {
	session, ok, err := s.account.SessionOf(i)
	if err != nil || !ok {
		return err
	}
	now := time.Now().UTC()
	info, err := json.Marshal(map[string]string{
		"Code": "Success", "LastUpdated": now.Format(time.RFC3339),
		"InstanceProfileArn": fmt.Sprintf("arn:aws:iam::%s:instance-profile/%s", aws.AccountID, i.Profile),
	})
	if err != nil {
		return err
	}
	credentials, err := json.Marshal(map[string]string{
		"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": now.Format(time.RFC3339),
		"AccessKeyId": session.AccessKeyID, "SecretAccessKey": session.SecretAccessKey, "Token": session.Token,
		"Expiration": now.Add(6 * time.Hour).Format(time.RFC3339),
	})
	data["meta-data/iam/info"], data["meta-data/iam/security-credentials/"+session.Role] = string(info), string(credentials)
	return err
}
