package progress

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// work runs a preparation of three builds and a step that is none. One of the builds is long and one fails.
func work(out io.Writer) {
	Plan(out, 3)
	first := StartBuild(out, "building kubeadm", "3 minutes")
	_, _ = fmt.Fprintln(first, "go: downloading example.com/module v1.0.0")
	time.Sleep(150 * time.Second)
	first.End(nil)
	second := StartBuild(out, "building kubectl", "a minute")
	time.Sleep(time.Second)
	second.End(nil)
	image := Start(out, "making an image")
	_, _ = fmt.Fprintln(out, "note: there is little room")
	time.Sleep(7 * time.Second)
	image.End(nil)
	third := StartBuild(out, "building kubelet", "4 minutes")
	time.Sleep(10 * time.Second)
	third.End(errors.New("no such package"))
	time.Sleep(10 * time.Minute)
}

func TestWithoutATerminal(t *testing.T) {
	for name, test := range map[string]struct {
		verbose bool
		want    []string
	}{
		"a line for each long step, and each minute": {false, []string{
			"[1/3] building kubeadm: 1m0s so far (first time: 3 minutes)",
			"[1/3] building kubeadm: 2m0s so far (first time: 3 minutes)",
			"[1/3] building kubeadm: 2m30s",
			"note: there is little room",
			"making an image: 7s",
		}},
		"verbose": {true, []string{
			"[1/3] building kubeadm",
			"go: downloading example.com/module v1.0.0",
			"[1/3] building kubeadm: 2m30s",
			"[2/3] building kubectl",
			"[2/3] building kubectl: 1s",
			"making an image",
			"note: there is little room",
			"making an image: 7s",
			"[3/3] building kubelet",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out strings.Builder
				work(&Display{out: &out, verbose: test.verbose})
				assert.Equal(t, strings.Join(test.want, "\n")+"\n", out.String())
			})
		})
	}
}

// screen returns the lines that a terminal has after this output, the last of which may be the one with the cursor.
func screen(t *testing.T, output string) []string {
	t.Helper()
	var lines []string
	for line := range strings.SplitSeq(output, "\n") {
		if i := strings.LastIndex(line, clearLine); i >= 0 {
			line = line[i+len(clearLine):]
		}
		assert.NotContains(t, line, "\r")
		lines = append(lines, line)
	}
	return lines
}

func TestOnATerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		d := &Display{out: &out, width: func() int { return 80 }}
		done := make(chan struct{})
		go func() {
			work(d)
			close(done)
		}()
		at := func(after time.Duration) []string {
			time.Sleep(after)
			synctest.Wait()
			d.mu.Lock()
			defer d.mu.Unlock()
			return screen(t, out.String())
		}
		assert.Equal(t, []string{"[1/3] building kubeadm: 10s, 10s in all (first time: 3 minutes)"}, at(10500*time.Millisecond))
		assert.Equal(t, []string{"[1/3] building kubeadm: 2m20s, 2m20s in all (first time: 3 minutes)"}, at(130*time.Second))
		assert.Equal(t, []string{"note: there is little room", "making an image: 2s, 2m33s in all"}, at(13*time.Second))
		assert.Equal(t, []string{"note: there is little room", ""}, at(time.Minute), "nothing remains of a step")
		before := out.Len()
		<-done
		assert.Equal(t, before, out.Len(), "nothing is written between steps, where other programs have the terminal")
	})
}

// Two lines could not be rewritten in place.
func TestALineIsNotWiderThanTheTerminal(t *testing.T) {
	for width, want := range map[int]string{
		80: "building a long name: 0s (first time: 3 minutes)",
		30: "building a long name: 0s", // without what does not fit
		20: "building a long nam",
	} {
		synctest.Test(t, func(t *testing.T) {
			var out strings.Builder
			step := StartBuild(&Display{out: &out, width: func() int { return width }}, "building a long name", "3 minutes")
			assert.Equal(t, []string{want}, screen(t, out.String()))
			step.End(nil)
		})
	}
}

// Of steps at the same time the one that began last is shown, and then the other.
func TestStepsAtTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		d := &Display{out: &out, width: func() int { return 80 }}
		engine, program := Start(d, "building pulumi"), Start(d, "building the program")
		assert.Equal(t, []string{"building the program: 0s"}, screen(t, out.String()))
		program.End(nil)
		assert.Equal(t, []string{"building pulumi: 0s"}, screen(t, out.String()))
		engine.End(nil)
		assert.Equal(t, []string{""}, screen(t, out.String()))
	})
}

// Tests pass any writer.
func TestAnyWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		Plan(&out, 3)
		step := StartBuild(&out, "building kubeadm", "3 minutes")
		time.Sleep(6 * time.Second)
		step.End(nil)
		assert.Equal(t, "building kubeadm: 6s\n", out.String())
	})
}
