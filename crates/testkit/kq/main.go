// A plain Go consumer and producer as a team with go-queue's kq would write them, for the test that both understand
// our events.
//
//	kq-interop read  BROKERS TOPIC GROUP              prints every event that carries both fields, one JSON line each
//	kq-interop push  BROKERS TOPIC PROJECT STARTTIME  pushes one start
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/zeromicro/go-queue/kq"
	"github.com/zeromicro/go-zero/core/logx"
	"github.com/zeromicro/go-zero/core/service"
)

// projectStarted is the struct that existing consumers read.
type projectStarted struct {
	ProjectID string `json:"projectId"`
	StartTime int64  `json:"startTime"`
}

func main() {
	logx.Disable()
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 4 && args[0] == "read" {
		return read(strings.Split(args[1], ","), args[2], args[3])
	}
	if len(args) == 5 && args[0] == "push" {
		startTime, err := strconv.ParseInt(args[4], 10, 64)
		if err != nil {
			return fmt.Errorf("STARTTIME is no number of seconds: %w", err)
		}
		return push(strings.Split(args[1], ","), args[2], projectStarted{args[3], startTime})
	}
	return fmt.Errorf("usage: kq-interop read BROKERS TOPIC GROUP | push BROKERS TOPIC PROJECT STARTTIME")
}

func read(brokers []string, topic, group string) error {
	conf := kq.KqConf{
		ServiceConf: service.ServiceConf{Name: "kq-interop", Mode: service.TestMode},
		Brokers:     brokers,
		Topic:       topic,
		Group:       group,
		Offset:      "first",
		Conns:       1,
		Consumers:   1,
		Processors:  1,
		MinBytes:    1,
		MaxBytes:    1048576,
		ForceCommit: true,
	}
	queue, err := kq.NewQueue(conf, kq.WithHandle(func(_ context.Context, _, value string) error {
		var event projectStarted
		if err := json.Unmarshal([]byte(value), &event); err != nil {
			return err
		}
		if event.ProjectID != "" && event.StartTime != 0 {
			line, err := json.Marshal(event)
			if err != nil {
				return err
			}
			fmt.Println(string(line))
		}
		return nil
	}))
	if err != nil {
		return err
	}
	defer queue.Stop()
	queue.Start()
	return nil
}

func push(brokers []string, topic string, event projectStarted) error {
	pusher := kq.NewPusher(brokers, topic)
	value, err := json.Marshal(event)
	if err != nil {
		return err
	}
	if err := pusher.Push(context.Background(), string(value)); err != nil {
		return err
	}
	// Push only hands over to a buffer; Close sends it.
	return pusher.Close()
}
