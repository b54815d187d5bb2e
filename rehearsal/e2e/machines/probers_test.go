package machines

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// probers are processes of `probe try` in pods, by the pods' namespaces and names. Each is started when it is first
// asked, and tries whatever targets it is asked for: a new process for each question would be most of the test's work.
type probers struct {
	mu      sync.Mutex
	running map[string]*prober
}

// prober is one process. Several goroutines may ask it at once.
type prober struct {
	stdin io.WriteCloser
	// ended is closed when the process has ended.
	ended chan struct{}

	mu sync.Mutex
	// asked counts the questions; the number of a question is its id.
	asked int
	// open are the answers so far to each question that is not answered completely, by target; complete receives when
	// there is no more to come.
	open map[string]*question
}

type question struct {
	answers  map[string]string
	complete chan struct{}
}

// ask has a pod try the targets, and returns what it printed for each.
func (p *probers) ask(c *cluster, pod string, targets []string) (map[string]string, error) {
	prober, err := p.prober(c, pod)
	if err != nil {
		return nil, err
	}
	return prober.ask(pod, targets)
}

// prober returns the running process in a pod. It starts one if there is none, or if it has ended.
func (p *probers) prober(c *cluster, pod string) (*prober, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if running := p.running[pod]; running != nil {
		select {
		case <-running.ended:
		default:
			return running, nil
		}
	}
	namespace, name, _ := strings.Cut(pod, "/")
	cmd := exec.CommandContext(c.t.Context(), c.binary, "exec", "--stdin", "--namespace="+namespace, probePrefix+name, "--", "/probe", "try")
	cmd.Env, cmd.Stderr = append(os.Environ(), "KUBECONFIG="+c.config), os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting a probe in %s: %w", pod, err)
	}
	started := &prober{stdin: stdin, ended: make(chan struct{}), open: map[string]*question{}}
	go func() {
		defer close(started.ended)
		started.read(stdout)
		_ = cmd.Wait() // whoever asks is told that it has ended; kubectl has printed why
	}()
	if p.running == nil {
		p.running = map[string]*prober{}
	}
	p.running[pod] = started
	return started, nil
}

// stop ends all processes.
func (p *probers) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, prober := range p.running {
		_ = prober.stdin.Close() // the process may have ended already
		<-prober.ended
	}
}

func (p *prober) ask(pod string, targets []string) (map[string]string, error) {
	q := &question{map[string]string{}, make(chan struct{})}
	p.mu.Lock()
	p.asked++
	id := fmt.Sprint(p.asked)
	p.open[id] = q
	_, err := fmt.Fprintln(p.stdin, id, strings.Join(targets, " "))
	p.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("asking the probe in %s: %w", pod, err)
	}
	select {
	case <-q.complete:
		return q.answers, nil
	case <-p.ended:
		return nil, fmt.Errorf("the probe in %s has ended", pod)
	case <-time.After(time.Minute):
		return nil, fmt.Errorf("the probe in %s has not answered within a minute", pod)
	}
}

// read sorts the lines that the process prints by question, until it ends.
func (p *prober) read(stdout io.Reader) {
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		id, rest, more := strings.Cut(lines.Text(), " ")
		p.mu.Lock()
		if q := p.open[id]; q != nil {
			if target, answer, _ := strings.Cut(rest, " "); more {
				q.answers[target] = answer
			} else {
				close(q.complete)
				delete(p.open, id)
			}
		}
		p.mu.Unlock()
	}
}
