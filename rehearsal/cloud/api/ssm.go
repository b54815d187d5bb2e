package api

import (
	"encoding/base64"
	"strconv"
	"strings"

	"eco2/rehearsal/cloud/aws"
)

// parameter is a parameter in a response of SSM.
type parameter struct {
	ARN      string
	DataType string
	Name     string
	Type     string
	Value    string
	Version  int
}

func (c *call) getParameter(in struct {
	Name           string
	WithDecryption bool
},
) (out struct{ Parameter parameter }, err error) {
	// The name may end with a version. The model stores only the newest one.
	name, selected, _ := strings.Cut(in.Name, ":")
	if err := c.authorize("ssm:GetParameter", c.parameterARN(name), nil); err != nil {
		return out, err
	}
	list, err := c.account.ParametersIn(c.region)
	if err != nil {
		return out, err
	}
	for _, p := range list {
		if p.Name != name {
			continue
		}
		out.Parameter = c.parameter(p, in.WithDecryption)
		if selected != "" && selected != strconv.Itoa(out.Parameter.Version) {
			out.Parameter = parameter{}
			return out, refuse("ParameterVersionNotFound", "Systems Manager could not find version %s of %s. Verify the version and try again.", selected, name)
		}
		return out, nil
	}
	return out, refuse("ParameterNotFound", "Parameter %s not found.", in.Name)
}

func (c *call) parameterARN(name string) string {
	return c.arn("ssm", "parameter/"+strings.TrimPrefix(name, "/"))
}

// parameter returns a parameter as the caller gets it. Without decryption, the value of a secret is a placeholder for
// the ciphertext.
func (c *call) parameter(p aws.Parameter, decrypted bool) parameter {
	value := p.Value + p.InsecureValue
	if p.Type == "SecureString" && !decrypted {
		value = base64.StdEncoding.EncodeToString([]byte("encrypted " + p.Name))
	}
	return parameter{ARN: c.parameterARN(p.Name), DataType: "text", Name: p.Name, Type: p.Type, Value: value, Version: int(p.Version)}
}
