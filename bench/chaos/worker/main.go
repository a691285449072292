package worker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/trunkline/trunkline/client"
)

// ReportsFD is the file descriptor of the pipe that Main is given.
const ReportsFD = 3

const (
	openLimit  = 30 * time.Second // to connect and to open everything
	leaveLimit = 10 * time.Second // to flush, commit and close
)

// process is a client process.
type process struct {
	task Task
	out  *os.File
	fail context.CancelCauseFunc
}

// Main is the client process: it reads its Task from in, does it until in ends, and reports to out. It returns an error if the client
// failed; the crew has been told then.
func Main(ctx context.Context, in io.Reader, out *os.File) error {
	lines := bufio.NewReaderSize(in, lineLimit)
	text, err := lines.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("task: %w", err)
	}
	p := &process{out: out}
	if err := json.Unmarshal(text, &p.task); err != nil {
		return fmt.Errorf("task: %w", err)
	}
	ctx, p.fail = context.WithCancelCause(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, lines) // the end of the task, however it comes
		p.fail(errLeave)
	}()
	err = p.work(ctx)
	if errors.Is(err, errLeave) {
		return nil
	}
	if err != nil {
		p.say(Report{What: Failed, Text: err.Error()})
	}
	return err
}

// errLeave says that the client shall leave.
var errLeave = errors.New("the task is over")

func (p *process) work(ctx context.Context) error {
	open, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	c, err := p.connect(open)
	if err != nil {
		return err
	}
	switch t := p.task; {
	case t.Publish != nil:
		err = p.publish(ctx, open, c, t.Publish)
	case t.Consume != nil:
		err = p.consume(ctx, open, c, t.Consume)
	case t.Siege != nil:
		err = t.Siege.Run(ctx, c, func(n map[string]int64) { p.say(Report{What: Thrown, Counts: n}) })
	default:
		err = errors.New("the task says nothing to do")
	}
	leave, cancelLeave := context.WithTimeout(context.WithoutCancel(ctx), leaveLimit)
	defer cancelLeave()
	return errors.Join(err, c.Close(leave))
}

func (p *process) connect(ctx context.Context) (*client.Client, error) {
	cf, err := client.LoadContext(p.task.Context)
	if err != nil {
		return nil, err
	}
	opts, err := cf.Options()
	if err != nil {
		return nil, err
	}
	return client.Connect(ctx, cf.Brokers, append(opts, client.WithName(fmt.Sprintf("trunkline-chaos-client-%d", p.task.Number)))...)
}

// say reports. A client that cannot report cannot be judged: it ends.
func (p *process) say(r Report) {
	r.Client = p.task.Number
	if err := report(p.out, r); err != nil {
		p.fail(err)
	}
}

// report writes one line in one piece.
func report(out *os.File, r Report) error {
	r.Text = r.Text[:min(len(r.Text), maxText)]
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if line = append(line, '\n'); len(line) > lineLimit {
		return fmt.Errorf("report of %d bytes, at most %d are written in one piece", len(line), lineLimit)
	}
	if _, err := out.Write(line); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}
