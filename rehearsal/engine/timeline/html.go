package timeline

import (
	"fmt"
	"html/template"
	"io"
	"time"
)

// Sizes of the drawing in pixels.
const (
	labelWidth = 290
	chartWidth = 900
	rowHeight  = 16
)

// Write writes the timeline as a self-contained HTML page. title says what was updated.
func (t Timeline) Write(w io.Writer, title string) error {
	view := page{
		Title: title, Started: t.Started.Format(time.DateTime), Took: t.Took.String(),
		Width: labelWidth + chartWidth + 60, Height: (len(t.Steps) + 2) * rowHeight, Label: labelWidth,
	}
	scale := chartWidth / max(t.Took.Seconds(), 1)
	for tick := time.Duration(0); tick <= t.Took; tick += every(t.Took) {
		view.Ticks = append(view.Ticks, mark{X: labelWidth + tick.Seconds()*scale, Text: tick.String()})
	}
	for i, step := range t.Steps {
		view.Bars = append(view.Bars, bar{
			Step: step, X: labelWidth + step.Start.Seconds()*scale, Y: (i + 1) * rowHeight,
			// Wide enough to be visible, even if the step took less than a second.
			Width: max((step.End-step.Start).Seconds()*scale, 2),
		})
	}
	for _, step := range t.Critical() {
		view.Path = append(view.Path, fmt.Sprintf("%s to %s: %s", step.Start, step.End, step.Label()))
	}
	if err := tmpl.Execute(w, view); err != nil {
		return fmt.Errorf("drawing the timeline: %w", err)
	}
	return nil
}

// every returns the distance between the grid's lines: a round duration, so that there are about twelve of them at
// most.
func every(took time.Duration) time.Duration {
	for _, step := range []time.Duration{time.Second, 5 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute} {
		if took <= 12*step {
			return step
		}
	}
	return time.Hour
}

type page struct {
	Title, Started, Took string
	Width, Height, Label int
	Ticks                []mark
	Bars                 []bar
	Path                 []string
}

type mark struct {
	X    float64
	Text string
}

type bar struct {
	Step
	X, Width float64
	Y        int
}

var tmpl = template.Must(template.New("timeline").Parse(`<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>{{.Title}}</title>
<style>
body { font: 13px system-ui, sans-serif; margin: 2em; color: #222; }
svg text { font: 11px system-ui, sans-serif; fill: #222; }
.bar { fill: #9bb; } .critical { fill: #d60; } .failed { fill: #b00; }
.grid { stroke: #ddd; }
</style>
<h1>{{.Title}}</h1>
<p>Began {{.Started}}, took {{.Took}}. Orange: the critical path. Red: failed or interrupted.</p>
<svg width="{{.Width}}" height="{{.Height}}" role="img" aria-label="what ran when">
{{range .Ticks}}<line class="grid" x1="{{.X}}" x2="{{.X}}" y1="12" y2="{{$.Height}}"/><text x="{{.X}}" y="10">{{.Text}}</text>
{{end}}{{range .Bars}}<g transform="translate(0 {{.Y}})"><title>{{.Op}} {{.URN}}: {{.Start}} to {{.End}}</title><text x="0" y="11">{{.Label}}</text><rect class="bar{{if .Critical}} critical{{end}}{{if .Failed}} failed{{end}}" x="{{.X}}" y="2" width="{{.Width}}" height="12"/></g>
{{end}}</svg>
<h2>The critical path</h2>
<ol>
{{range .Path}}<li>{{.}}</li>
{{end}}</ol>
</html>
`))
