package remote

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/engine/plugin"
)

// Connection says how to reach a machine.
type Connection struct {
	Host string
	Port int
	User string
	// Password, PrivateKey and PrivateKeyPassword are secret.
	Password, PrivateKey, PrivateKeyPassword string
	AgentSocketPath                          string
	// HostKey is the machine's required public key in the format of authorized_keys. If empty, any key is accepted.
	HostKey string
	// DialErrorLimit is the number of attempts to connect; -1 means no limit.
	DialErrorLimit int
	// PerDialTimeout limits each attempt, in seconds; 0 means no limit.
	PerDialTimeout int
}

// The defaults of pulumi-command.
const (
	defaultPort           = 22
	defaultUser           = "root"
	defaultDialErrorLimit = 10
	defaultPerDialTimeout = 15
)

// commandInputs and connectionInputs list the accepted properties and their JSON types.
var (
	commandInputs = map[string]string{
		"addPreviousOutputInEnv": "bool", "connection": "object", "create": "string", "delete": "string",
		"environment": "object", "logging": "string", "stdin": "string", "triggers": "array", "update": "string",
	}
	connectionInputs = map[string]string{
		"agentSocketPath": "string", "dialErrorLimit": "number", "host": "string", "hostKey": "string",
		"password": "string", "perDialTimeout": "number", "port": "number", "privateKey": "string",
		"privateKeyPassword": "string", "proxy": "object", "user": "string",
	}
)

// check validates the inputs and adds the defaults. Any value may be unknown: in a preview, a new machine has no
// address yet.
func check(given resource.PropertyMap) (resource.PropertyMap, []plugin.Failure) {
	inputs := given.Copy()
	failures := plugin.CheckTypes("", inputs, commandInputs)
	fail := func(property, reason string) {
		failures = append(failures, plugin.Failure{Property: property, Reason: reason})
	}
	if logging := inputs["logging"]; logging.IsString() && !slices.Contains(loggings, logging.StringValue()) {
		fail("logging", fmt.Sprintf("must be one of %q", loggings))
	}
	if environment := inputs["environment"]; environment.IsObject() {
		for _, name := range environment.ObjectValue().StableKeys() {
			if v := environment.ObjectValue()[name]; !v.IsString() && !v.IsComputed() && !v.IsOutput() {
				fail("environment."+string(name), "must be of type string")
			}
		}
	}
	if !inputs.HasValue("addPreviousOutputInEnv") {
		inputs["addPreviousOutputInEnv"] = resource.NewProperty(true)
	}
	if !inputs.HasValue("connection") {
		fail("connection", "must be set")
	}
	if !inputs["connection"].IsObject() {
		return inputs, failures
	}
	connection := inputs["connection"].ObjectValue().Copy()
	failures = append(failures, plugin.CheckTypes("connection.", connection, connectionInputs)...)
	if !connection.HasValue("host") || connection["host"].IsString() && connection["host"].StringValue() == "" {
		fail("connection.host", "must be set")
	}
	if connection.HasValue("proxy") {
		fail("connection.proxy", "the rehearsal does not support bastion hosts")
	}
	for property, value := range map[resource.PropertyKey]resource.PropertyValue{
		"port":           resource.NewProperty(float64(defaultPort)),
		"user":           resource.NewProperty(defaultUser),
		"dialErrorLimit": resource.NewProperty(float64(defaultDialErrorLimit)),
		"perDialTimeout": resource.NewProperty(float64(defaultPerDialTimeout)),
	} {
		if !connection.HasValue(property) {
			connection[property] = value
		}
	}
	inputs["connection"] = resource.NewProperty(connection)
	return inputs, failures
}

func connectionOf(v resource.PropertyValue) (Connection, error) {
	if !v.IsObject() {
		return Connection{}, fmt.Errorf("the command's connection is not known")
	}
	in := v.ObjectValue()
	number := func(key resource.PropertyKey, otherwise int) int {
		if in[key].IsNumber() {
			return int(in[key].NumberValue())
		}
		return otherwise
	}
	c := Connection{
		Host: plugin.Text(in["host"]), Port: number("port", defaultPort), User: plugin.Text(in["user"]),
		Password: plugin.Text(in["password"]), PrivateKey: plugin.Text(in["privateKey"]), PrivateKeyPassword: plugin.Text(in["privateKeyPassword"]),
		AgentSocketPath: plugin.Text(in["agentSocketPath"]), HostKey: plugin.Text(in["hostKey"]),
		DialErrorLimit: number("dialErrorLimit", defaultDialErrorLimit), PerDialTimeout: number("perDialTimeout", defaultPerDialTimeout),
	}
	if c.User == "" {
		c.User = defaultUser
	}
	return c, nil
}

// Variable is an environment variable of a command.
type Variable struct {
	Name, Value string
	// Optional makes it only a warning if the machine refuses the variable. Otherwise the command fails.
	Optional bool
}

// environment returns the resource's variables in the order of their names, followed by two with the output of the last
// run, unless addPreviousOutputInEnv is false.
func environment(inputs, state resource.PropertyMap) []Variable {
	var variables []Variable
	if given := inputs["environment"]; given.IsObject() {
		for _, name := range slices.Sorted(maps.Keys(given.ObjectValue())) {
			variables = append(variables, Variable{Name: string(name), Value: plugin.Text(given.ObjectValue()[name])})
		}
	}
	if add := inputs["addPreviousOutputInEnv"]; add.IsBool() && !add.BoolValue() {
		return variables
	}
	for _, output := range []resource.PropertyKey{"stderr", "stdout"} {
		if previous := plugin.Text(state[output]); previous != "" {
			name := "PULUMI_COMMAND_" + strings.ToUpper(string(output))
			variables = append(variables, Variable{Name: name, Value: previous, Optional: true})
		}
	}
	return variables
}

func newID() string {
	id := make([]byte, 4)
	_, _ = rand.Read(id) // documented never to fail
	return "command" + hex.EncodeToString(id)
}
