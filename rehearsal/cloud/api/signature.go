package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"regexp"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"eco2/rehearsal/cloud/aws"
)

// maxSkew is the maximum difference between a signature's time and the service's.
const maxSkew = 5 * time.Minute

const dateFormat = "20060102T150405Z"

// signature holds the fields of a request's Authorization header.
type signature struct {
	accessKeyID, region, service string
	headers                      []string
}

// authorization matches an Authorization header with AWS4-HMAC-SHA256 and the scope DATE/REGION/SERVICE.
var authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([^/,]+)/(\d{8})/([^/,]+)/([^/,]+)/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=[0-9a-f]{64}$`)

func parseSignature(r *http.Request) (signature, bool) {
	m := authorization.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil {
		return signature{}, false
	}
	return signature{accessKeyID: m[1], region: m[3], service: m[4], headers: strings.Split(m[5], ";")}, true
}

// verify signs the request again with the session's credentials and compares the signatures.
func (s signature) verify(r *http.Request, body []byte, session aws.Session) error {
	date, err := time.Parse(dateFormat, r.Header.Get("X-Amz-Date"))
	switch skew := time.Since(date).Abs(); {
	case err != nil:
		return refuse("IncompleteSignature", "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	case skew > maxSkew:
		return refuse("InvalidSignatureException", "Signature expired: %s is not within 5 minutes of the service's time", r.Header.Get("X-Amz-Date"))
	case r.Header.Get("X-Amz-Security-Token") != session.Token:
		return refuse("UnrecognizedClientException", "The security token included in the request is invalid.")
	}
	again := &http.Request{Method: r.Method, URL: r.URL, Host: r.Host, Header: http.Header{}}
	for _, name := range s.headers {
		if name == "content-length" {
			again.ContentLength = r.ContentLength
		}
		if values := r.Header.Values(name); len(values) > 0 {
			again.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	credentials := sdk.Credentials{
		AccessKeyID: session.AccessKeyID, SecretAccessKey: session.SecretAccessKey, SessionToken: session.Token,
	}
	sum := sha256.Sum256(body)
	err = v4.NewSigner().SignHTTP(r.Context(), credentials, again, hex.EncodeToString(sum[:]), s.service, s.region, date)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare([]byte(again.Header.Get("Authorization")), []byte(r.Header.Get("Authorization"))) != 1 {
		return refuse("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.")
	}
	return nil
}
