// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"
	"go.uber.org/zap/zapcore"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/teamtalk-io/teamtalk-operator/internal/buildinfo"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
)

const usage = `teamtalk-dev is a TeamTalk for development and tests: it implements db_proxy_server and
route_server with an embedded database, and shows the decrypted messages in an inbox.
It has no authentication.

Usage: teamtalk-dev [flags]

Flags:
`

// maxColleagues is larger than the number of users that the operator reads in one request.
const maxColleagues = 300_000

const faultUsage = `
Faults are comma-separated key=value pairs, for example
  --fault 'kind=no-answer,command=0x0301,probability=0.5,count=3'

Kinds:
%s
Which requests (default: all):
  server       dbproxy or router
  command      0x0301 message, 0x0309 list, 0x030d by id, 0x030b latest id, 0x0307 unread,
               0x0204 users, 0x0208 all users, 0x0401 groups of a user, 0x0403 groups,
               0x0405 create, 0x0407 change, 0x020a state
  from, to     sender or requester; recipient, user or group
  session      single or group
  skip         let the first N pass
  every        take each Nth of the rest
  count        end after the fault has occurred N times
  probability  0 to 1
Other keys (delay, after, limit, store, down) belong to the kinds that name them.

Change faults while the server runs at /api/faults of the inbox:
  GET lists them and how often each has occurred, PUT replaces them (a JSON array
  of objects with the keys above), POST adds one, DELETE removes all, and
  DELETE /api/faults/ID one.
`

// parse parses the flags. It returns pflag.ErrHelp after it has printed the help or the version.
func parse(args []string, out io.Writer) (devserver.Options, error) {
	var o devserver.Options
	flags := pflag.NewFlagSet("teamtalk-dev", pflag.ContinueOnError)
	flags.SortFlags = false
	flags.SetOutput(out)
	flags.Usage = func() {
		fmt.Fprint(out, usage, flags.FlagUsagesWrapped(100), fmt.Sprintf(faultUsage, devserver.FaultHelp()))
	}
	flags.StringVar(&o.DBProxyAddress, "db-proxy-address", devserver.DefaultDBProxyAddress,
		"`host:port` of db_proxy; port 0 selects a free one")
	flags.StringVar(&o.RouterAddress, "router-address", devserver.DefaultRouterAddress, "`host:port` of the router")
	flags.StringVar(&o.InboxAddress, "inbox-address", devserver.DefaultInboxAddress,
		"`host:port` of the inbox and its API")
	flags.BoolVar(&o.AllowRemote, "allow-remote", false,
		"allow addresses other than loopback. Clients need no authentication there")
	flags.StringVar(&o.Database, "database", "", "SQLite `file` for messages. If empty, they are kept in memory")
	users := flags.Int("users", 0, "number of additional users in an empty database, such as 20000")
	flags.BoolVar(&o.LaxSQL, "lax-sql", false, "truncate long texts, as MySQL does without strict mode")
	keyFile := flags.String("aes-key-file", "", "`file` with the 32 bytes of the message key")
	key := flags.String("aes-key", "",
		"message `key`, for development only (default the key of TeamTalk's documentation)")
	specs := flags.StringArray("fault", nil, "fault to inject, see below. May be repeated")
	flags.Uint64Var(&o.FaultSeed, "fault-seed", 1, "seed for faults with a probability")
	flags.DurationVar(&o.Latency, "latency", 0, "delay of every answer")
	verbose := flags.BoolP("verbose", "v", false, "log connections, and requests without an answer")
	version := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if *version {
		fmt.Fprintln(out, "teamtalk-dev version", buildinfo.Get())
		return o, pflag.ErrHelp
	}
	var err error
	if o.AESKey, err = aesKey(*key, *keyFile); err != nil {
		return o, err
	}
	if *users < 0 || *users > maxColleagues {
		return o, fmt.Errorf("--users is %d, want 0 to %d", *users, maxColleagues)
	}
	o.Seed = devserver.DefaultSeed().WithColleagues(*users)
	for _, spec := range *specs {
		f, err := devserver.ParseFault(spec)
		if err != nil {
			return o, err
		}
		o.Faults = append(o.Faults, f)
	}
	level := zapcore.InfoLevel
	if *verbose {
		level = zapcore.DebugLevel
	}
	o.Log = zap.New(zap.UseDevMode(true), zap.Level(level), zap.WriteTo(out), zap.StacktraceLevel(zapcore.PanicLevel))
	return o, nil
}

// aesKey returns the key of the flags, or an empty one.
func aesKey(key, file string) ([]byte, error) {
	if file == "" {
		return []byte(key), nil
	}
	if key != "" {
		return nil, errors.New("--aes-key and --aes-key-file exclude each other")
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the message key: %w", err)
	}
	if len(b) > 32 {
		b = bytes.TrimRight(b, "\r\n") // editors append a newline
	}
	return b, nil
}
