// Package client calls the rehearsal's AWS API from a pod the way a controller calls AWS: it signs each request with
// the credentials of its node's role.
package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

// callTimeout is the timeout of one call.
const callTimeout = 30 * time.Second

// endpointEnv is the environment variable that replaces the address of AWS in all SDKs.
const endpointEnv = "AWS_ENDPOINT_URL"

// Client calls the services of one region.
type Client struct {
	region      string
	credentials aws.CredentialsProvider
	signer      *v4.Signer
	http        *http.Client
}

// Error is an error response of the service.
type Error struct {
	// Code is AWS's error code, for instance "AccessDenied".
	Code    string
	Message string
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// New returns a client for the region in AWS_REGION or AWS_DEFAULT_REGION, or else the instance's region.
func New(ctx context.Context) (*Client, error) {
	metadata := imds.New(imds.Options{})
	c := &Client{
		credentials: aws.NewCredentialsCache(ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = metadata })),
		signer:      v4.NewSigner(),
		http:        &http.Client{Timeout: callTimeout},
	}
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
		if c.region = os.Getenv(name); c.region != "" {
			return c, nil
		}
	}
	answer, err := metadata.GetRegion(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("asking the metadata service for the region, as AWS_REGION is not set: %w", err)
	}
	c.region = answer.Region
	return c, nil
}

// Region returns the region that the client calls.
func (c *Client) Region() string { return c.region }

// Call calls an operation of a service that speaks AWS JSON 1.1. The service is its name in addresses and signatures,
// such as "ssm"; the target is the operation, such as "AmazonSSM.GetParameter". The response is decoded into out, if
// that is not nil. An error response of the service is returned as an *Error.
func (c *Client) Call(ctx context.Context, service, target string, in, out any) error {
	if err := c.call(ctx, service, target, in, out); err != nil {
		return fmt.Errorf("calling %s: %w", target, err)
	}
	return nil
}

func (c *Client) call(ctx context.Context, service, target string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	endpoint := os.Getenv(endpointEnv)
	if endpoint == "" {
		endpoint = fmt.Sprintf("https://%s.%s.amazonaws.com/", service, c.region)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-amz-json-1.1")
	request.Header.Set("X-Amz-Target", target)
	credentials, err := c.credentials.Retrieve(ctx)
	if err != nil {
		return fmt.Errorf("getting the credentials of the node's role: %w", err)
	}
	sum := sha256.Sum256(body)
	if err := c.signer.SignHTTP(ctx, credentials, request, hex.EncodeToString(sum[:]), service, c.region, time.Now()); err != nil {
		return fmt.Errorf("signing the request: %w", err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // nothing to do about an error after reading
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("reading the response: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return refusal(response.Status, answer)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("reading the response: %w", err)
	}
	return nil
}

func refusal(status string, answer []byte) error {
	var body struct {
		Code    string `json:"__type"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal(answer, &body); err != nil || body.Code == "" {
		return errors.New("the service responded with " + status)
	}
	return &Error{Code: body.Code, Message: body.Message}
}
