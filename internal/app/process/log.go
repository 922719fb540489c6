// SPDX-License-Identifier: Apache-2.0

package process

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// Log formats.
const (
	logFormatJSON = "json"
	logFormatText = "text"
)

var logLevels = map[string]zapcore.Level{
	"debug": zapcore.DebugLevel, "info": zapcore.InfoLevel, "error": zapcore.ErrorLevel,
}

// LogOptions configure the log of a process.
type LogOptions struct {
	Format string // json or text
	Level  string // debug, info or error

	output *logOutput // set by NewLogger
}

// logOutput is a writer that can be replaced.
type logOutput struct {
	mu sync.Mutex
	w  io.Writer
}

// Write implements io.Writer.
func (o *logOutput) Write(line []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(line)
}

func (o *logOutput) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.w = io.Discard
}

// Flags adds the options to a flag set.
func (o *LogOptions) Flags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Format, "log-format", logFormatJSON, "`format` of the log: json or text")
	fs.StringVar(&o.Level, "log-level", "info", "`level` of the log: debug, info or error")
}

// Validate returns a one-line error.
func (o *LogOptions) Validate() error {
	if o.Format != logFormatJSON && o.Format != logFormatText {
		return fmt.Errorf("--log-format must be json or text, not %q", o.Format)
	}
	if _, ok := logLevels[o.Level]; !ok {
		return fmt.Errorf("--log-level must be debug, info or error, not %q", o.Level)
	}
	return nil
}

// NewLogger returns the logger of the process and sets it for the libraries.
// docs/how-to/operations.md documents the keys of its lines.
func (o *LogOptions) NewLogger() logr.Logger {
	o.output = &logOutput{w: os.Stderr}
	log := zap.New(zap.UseDevMode(o.Format == logFormatText), zap.Level(logLevels[o.Level]), zap.WriteTo(o.output))
	ctrl.SetLogger(log)
	klog.SetLogger(log.WithName("client-go"))
	// HTTP servers write errors of their clients to the standard logger, which slog redirects.
	slog.SetDefault(slog.New(logr.ToSlogHandler(log.WithName("net-http"))))
	return log
}

// loggedError is an error that was already logged.
type loggedError struct{ error }

func (e loggedError) Unwrap() error { return e.error }

// IsLogged reports whether the log already contains the error.
func IsLogged(err error) bool { return errors.As(err, &loggedError{}) }

// LogFatal logs why the process ends if the log is JSON, so that all of its lines are. Otherwise the caller prints the
// error. Either is the last line: the controllers of a lost leader still run, and may log.
func (o *LogOptions) LogFatal(err error) error {
	if err == nil {
		return nil
	}
	o.output.close()
	if o.Format != logFormatJSON {
		return err
	}
	log := zap.New(zap.UseDevMode(false), zap.WriteTo(os.Stderr), zap.StacktraceLevel(zapcore.PanicLevel))
	log.Error(err, "the process ends")
	return loggedError{err}
}
