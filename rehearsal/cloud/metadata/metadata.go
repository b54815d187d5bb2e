// Package metadata is the instance metadata service of the rehearsal's machines, versions 1 and 2, which AWS serves at
// http://169.254.169.254. It identifies a caller by its source address, so a pod whose node masquerades its traffic is
// identified as the node, as on AWS.
//
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-categories.html lists all categories of data.
// This package serves those that programs on a Kubernetes node request.
package metadata

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

	"eco2/rehearsal/cloud/aws"
)

// Address is the service's address for every instance on AWS, with port 80.
const Address = "169.254.169.254"

const (
	tokenHeader = "X-aws-ec2-metadata-token"
	ttlHeader   = "X-aws-ec2-metadata-token-ttl-seconds"
	// maxTTL is the maximum lifetime of a token in seconds: six hours.
	maxTTL = 21600
	// defaultTTL is the kernel's default TTL of packets, net.ipv4.ip_default_ttl.
	defaultTTL = 64
)

// Service serves the instances of one VPC.
type Service struct {
	account *aws.Account
	vpc     string

	mu     sync.Mutex
	tokens map[string]token
}

// token is a session token, valid only for the instance that requested it.
type token struct {
	instance string
	expires  time.Time
}

// New returns a service for the instances of a VPC in an account.
func New(account *aws.Account, vpc string) *Service {
	return &Service{account: account, vpc: vpc, tokens: map[string]token{}}
}

// Serve serves until the context is done.
func (s *Service) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })() // open connections need not be drained
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
	// The hop limit applies only to responses with a token. Without a token, the rest of the service is of no use to a
	// caller further away.
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

// caller finds the instance that the request comes from.
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

// setHops sets the TTL of the response's packets. The connection itself was established with a higher TTL, so a caller
// that is too far away waits for a response that never arrives.
func setHops(r *http.Request, hops int) error {
	conn, ok := r.Context().Value(connKey{}).(net.Conn)
	if !ok {
		return nil // in a test without a real connection
	}
	if err := ipv4.NewConn(conn).SetTTL(hops); err != nil {
		return fmt.Errorf("setting the number of hops: %w", err)
	}
	return nil
}

func (s *Service) newToken(w http.ResponseWriter, r *http.Request, instance aws.Instance) {
	// AWS rejects token requests that came through a proxy.
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
	_, _ = fmt.Fprint(w, text) // fails only if the caller has disconnected
}

// allowed reports whether a request may read data: with a valid token, or without any token if the instance permits
// version 1.
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
	// The first part of the path is a version. All versions have the data of "latest".
	_, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	text, ok := lookUp(data, strings.Trim(path, "/"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = fmt.Fprint(w, text) // as above
}

// lookUp returns a value, or the list of a directory, in which names of directories end with a slash, as on AWS.
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

// data returns all data of an instance, by path.
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

// addRole adds the credentials of the instance profile's role.
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
