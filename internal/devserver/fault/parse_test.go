// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

func TestParse(t *testing.T) {
	tests := map[string]struct {
		spec    string
		want    Fault
		wantErr string
	}{
		"everything": {
			spec: "command=0x0301,kind=late,from=1,to=2,session=single,skip=3,count=4,probability=0.5,delay=250ms",
			want: Fault{
				Kind: Late, Server: DBProxy, Command: wire.CommandMsgData, From: 1, To: 2,
				Session: wire.SessionType_SESSION_TYPE_SINGLE, Skip: 3, Count: 4, Probability: 0.5, Delay: 250 * time.Millisecond,
			},
		},
		"defaults":        {spec: "kind=stop-receiving", want: Fault{Kind: StopReceiving, Server: DBProxy, Probability: 1, Delay: 4 * time.Second}},
		"router":          {spec: "kind=router-drop,command=all", want: Fault{Kind: RouterDrop, Server: Router, Probability: 1}},
		"hung worker":     {spec: "kind=hung-worker", want: Fault{Kind: HungWorker, Server: DBProxy, Probability: defaultHang, Delay: 20 * time.Millisecond}},
		"limit":           {spec: "kind=group-deadlock,limit=8,delay=1s", want: Fault{Kind: GroupDeadlock, Server: DBProxy, Probability: 1, Limit: 8, Delay: time.Second}},
		"table":           {spec: "kind=table-unreadable,table=IMGroupMessage_7,every=2", want: Fault{Kind: TableUnreadable, Server: DBProxy, Probability: 1, Table: "IMGroupMessage_7", Every: 2}},
		"table of users":  {spec: "kind=table-unreadable,table=user:1:2", want: Fault{Kind: TableUnreadable, Server: DBProxy, Probability: 1, Table: "user:1:2"}},
		"no table":        {spec: "kind=table-unreadable", wantErr: "want"},
		"unknown table":   {spec: "kind=table-unreadable,table=IMMessage_8", wantErr: "IMMessage_8"},
		"table elsewhere": {spec: "kind=drop,table=IMMessage_1", wantErr: "table"},
		"down":            {spec: "kind=refuse,server=router,down=true", want: Fault{Kind: Refuse, Server: Router, Probability: 1, Down: true}},
		"no kind":         {spec: "command=0x0301", wantErr: "kind"},
		"unknown kind":    {spec: "kind=explode", wantErr: "want one of"},
		"unknown key":     {spec: "kind=drop,colour=red", wantErr: "unknown key"},
		"no value":        {spec: "kind=drop,count", wantErr: "key=value"},
		"bad number":      {spec: "kind=drop,count=many", wantErr: "count=many"},
		"negative":        {spec: "kind=drop,skip=-1", wantErr: "negative"},
		"bad command":     {spec: "kind=drop,command=send", wantErr: "0x0301"},
		"wrong command":   {spec: "kind=id-zero,command=0x0309", wantErr: "applies"},
		"wrong server":    {spec: "kind=lag,server=router", wantErr: "server"},
		"probability 0":   {spec: "kind=drop,probability=0", wantErr: "probability"},
		"probability 2":   {spec: "kind=drop,probability=2", wantErr: "probability"},
		"bad delay":       {spec: "kind=late,delay=soon", wantErr: "duration"},
		"unknown session": {spec: "kind=drop,session=tea", wantErr: "single or group"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(test.spec)
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Fatalf("got error %v, want one with %q", err, test.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("fault (-want +got):\n%s", diff)
			}
			b, err := json.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			var again Fault
			if err := json.Unmarshal(b, &again); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, again); diff != "" {
				t.Errorf("fault from its own JSON %s (-want +got):\n%s", b, diff)
			}
		})
	}
}

func TestHelpNamesEveryKind(t *testing.T) {
	help := Help()
	for kind := range kinds {
		if !strings.Contains(help, string(kind)) {
			t.Errorf("help does not mention %s", kind)
		}
	}
}
