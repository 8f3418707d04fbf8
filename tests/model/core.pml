/* The protocol of the workers, said once more for Spin: a second opinion on protocol.py, by another tool.

Two workers, one or two requests. A step is an `atomic`: one statement in Postgres, or one exchange with RabbitMQ.
A worker that dies loses what it has in hand, and begins anew: to be down is to do nothing for a while.
What protocol.py does for some requests at once is done here for one after the other.

Which guard is removed, which faults there may be, and how many, is read from the environment when `pan` starts, so it
is compiled once. Names and order of guards and faults are those of guards.py, and the words of what is broken
those of promised.py: test_spin.py compares them. */

#define FENCE                      1
#define ONE_END                    2
#define ONE_ROW                    3
#define ONE_SESSION                4
#define LEASE_AT_INSERT            5
#define LEASE_AT_CLAIM             6
#define OWN_RELEASE                7
#define ANSWER_OF_THE_RECORD       8
#define KNOWN_INSERT               9
#define KNOWN_CLAIM               10
#define ENDED_MEANWHILE           11
#define RECORD_BEFORE_ACKNOWLEDGE 12
#define PUBLISH_BEFORE_ACKNOWLEDGE 13
#define CONFIRM_BEFORE_DONE       14
#define REFUSED_WAITS             15
#define LOOKED_AT_LATER           16
#define NOTED_LOSS                17
#define FINISHED_ONLY             18

#define DIES                1
#define STOPS               2
#define FREEZES             3
#define LOSES_ITS_CHANNEL   4
#define ANSWER_LOST         5
#define CONFIRM_LOST        6
#define REFUSED             7
#define HALVED              8 /* always: each statement is for one request */
#define PUT_OFF             9
#define REJECTED           10
#define HAS_TO_WAIT        11
#define SENT_AGAIN         12
#define CANCELLED          13
#define LATE               14
#define DELETED_AS_OLD     15

#define BROKEN(what)   printf("broken: "); printf(what); assert(false)
#define GUARDED(guard) (without != guard)
#define CAN(fault)     (left > 0 && ((can >> fault) & 1))

mtype:status = { no_row, pending, processing, completed, failed };
mtype:place = { nowhere, due, in_line };
mtype:stage = { nothing, new, asked, unknown, begun, decided, to_publish, confirmed, settled, noted, claimed, held };
mtype:loan = { none, live, stale };
mtype:verdict = { undecided, succeeded, rejected, withdrawn, put_off, kept };
mtype:batch = { idle, deliveries, cancellation, taken };
mtype:look = { looked, lost_one, unharmed_one, own_one };

/* Who holds a lease: nobody (it is not on record), worker 1 or 2, or none of those that run. */
#define NOT_ON_RECORD 0
#define RUN_OUT       3
#define FREE          4
#define LEASES        8

typedef Request {
  mtype:status status = no_row; byte attempt; bool over; mtype:place place = nowhere; byte lease;
  bool published; bool waits; bool cancelled;
  byte sessions; bool former; byte queued; byte cancels; bool owed; bool late
};
typedef Item {
  mtype:stage stage = nothing; mtype:loan loan = none; byte attempt; mtype:verdict verdict = undecided;
  bool done; bool lost; bool spent; bool anew
};
typedef Worker { mtype:batch kind = idle; byte lease; mtype:look look = looked; Item item[2] };

Request r[2];
Worker w[3]; /* 1 and 2 */
byte holder[LEASES];
byte left, without, requests, noted_too;
short can;

#define FINISHED(i)  (r[i].status == completed || r[i].status == failed)
#define MINE         (holder[w[me].lease] == me)
#define IT(i)        w[me].item[i]
#define NAME         (64 + me)
#define EMPTY        (IT(0).stage == nothing && IT(1).stage == nothing)
#define OPEN(i)      (IT(i).stage != nothing && IT(i).stage != noted)
#define ANSWERED(i)  (!r[i].queued && !r[i].cancels && !r[i].owed && (r[i].status == no_row || FINISHED(i)))
#define IS_DUE(i) (r[i].place == due || (r[i].place == in_line && r[i].late))
#define QUEUED(i)    (r[i].queued > 0)
#define SILENT(l)    (holder[l] == RUN_OUT || holder[l] == FREE || (holder[l] == 3 - me && CAN(FREEZES)))
#define IN_PLACE(i)  (r[i].place != nowhere)


inline promised(i) {
  if
  :: r[i].sessions > 1 -> BROKEN("2 sessions of one request")
  :: else
  fi;
  if
  :: r[i].status != no_row && (r[i].status == completed) != (r[i].sessions > 0) &&
     !(r[i].former && r[i].sessions > 0) -> BROKEN("a session and a status that do not agree")
  :: else
  fi
}

inline drop(worker, i) {
  w[worker].item[i].stage = nothing; w[worker].item[i].loan = none; w[worker].item[i].attempt = 0;
  w[worker].item[i].verdict = undecided; w[worker].item[i].done = false; w[worker].item[i].lost = false;
  w[worker].item[i].spent = false; w[worker].item[i].anew = false
}

inline put(i, to_stage, of_attempt) { /* what is in hand goes on, and keeps its loan */
  IT(i).stage = to_stage; IT(i).attempt = of_attempt; IT(i).verdict = undecided;
  IT(i).done = false; IT(i).lost = false; IT(i).spent = false; IT(i).anew = false
}

inline end_batch() {
  if /* a lease that nobody can find any more is no lease */
  :: holder[w[me].lease] == NOT_ON_RECORD && w[3 - me].lease != w[me].lease ->
     for (n : 0 .. 1) { if :: r[n].lease == w[me].lease -> r[n].lease = 0 :: else fi }
  :: else
  fi;
  w[me].kind = idle; w[me].lease = 0; w[me].look = looked;
  for (n : 0 .. 1) { drop(me, n) }
  n = 0
}

inline give_back(i, becomes) {
  if
  :: IT(i).loan == live ->
     if
     :: w[me].kind == cancellation -> r[i].cancels++
     :: else -> r[i].queued++
     fi;
     IT(i).loan = becomes
  :: else
  fi
}

inline leave(as) { /* the batch ends here, and its lease stands on record */
  give_back(0, none); give_back(1, none);
  if
  :: MINE -> holder[w[me].lease] = as
  :: else
  fi;
  end_batch()
}

inline release(only_own) {
  if
  :: MINE || !(only_own) -> holder[w[me].lease] = NOT_ON_RECORD
  :: else
  fi
}

inline begin_batch(what) {
  n = 1;
  do
  :: n < LEASES && (holder[n] != NOT_ON_RECORD || w[3 - me].lease == n) -> n++
  :: else -> break
  od;
  assert(n < LEASES);
  w[me].kind = what; w[me].lease = n; n = 0
}

inline maybe(fault) {
  if
  :: lost = false
  :: CAN(fault) -> left--; lost = true; printf("(what comes of this is lost) ")
  fi
}

/* The statements */

inline answer(i, of_attempt) {
  put(i, to_publish, of_attempt);
  IT(i).anew = (of_attempt == 0 && !GUARDED(ANSWER_OF_THE_RECORD));
  if
  :: GUARDED(PUBLISH_BEFORE_ACKNOWLEDGE)
  :: else -> IT(i).loan = none
  fi
}

inline insert() { /* ok: the lease is not another worker's */
  ok = true; known = MINE || holder[w[me].lease] == NOT_ON_RECORD;
  if
  :: known -> holder[w[me].lease] = me
  :: else
  fi;
  if
  :: (r[i].status == no_row || !GUARDED(ONE_ROW)) && !known && GUARDED(LEASE_AT_INSERT) -> ok = false
  :: (r[i].status == no_row || !GUARDED(ONE_ROW)) && (known || !GUARDED(LEASE_AT_INSERT)) ->
     if
     :: r[i].status == processing -> BROKEN("accept leads from processing to pending: no legal step")
     :: r[i].status != no_row && r[i].status != processing -> BROKEN("accept leads from there to nowhere")
     :: else
     fi;
     r[i].status = processing; r[i].attempt = 1; r[i].lease = w[me].lease;
     if
     :: lost
     :: else -> put(i, claimed, 1)
     fi
  :: else ->
     if
     :: lost
     :: !lost && !FINISHED(i) && r[i].lease == w[me].lease && r[i].attempt == 1 && GUARDED(KNOWN_INSERT) ->
        put(i, claimed, 1)
     :: !lost && FINISHED(i) -> answer(i, 0)
     :: else -> put(i, settled, 0)
     fi
  fi
}

inline read_lease(i, how) {
  if
  :: r[i].lease == w[me].lease && !r[i].published && (MINE || how != own_one) ->
     if
     :: FINISHED(i) -> put(i, to_publish, r[i].attempt)
     :: else ->
        put(i, held, r[i].attempt);
        IT(i).lost = (how == lost_one && !r[i].over); IT(i).spent = (how == lost_one || r[i].over)
     fi
  :: else
  fi
}

inline take() {
  maybe(ANSWER_LOST);
  d_step {
  begin_batch(taken); holder[w[me].lease] = me;
  for (k : 0 .. 1) {
    if
    :: (m >> k) & 1 ->
       if
       :: r[k].status == pending -> r[k].status = processing; r[k].attempt++
       :: else
       fi;
       r[k].lease = w[me].lease; r[k].place = nowhere
    :: else
    fi
  }
  k = 0;
  if
  :: lost -> w[me].look = own_one
  :: else -> read_lease(0, own_one); read_lease(1, own_one)
  fi;
  printf("%c takes what is due, or whose turn it is: %d\n", NAME, m); lost = false
  }
}

inline finish() { /* stores the verdict */
  maybe(ANSWER_LOST);
  d_step {
  printf("%c stores the verdict on r%d\n", NAME, i + 1);
  ok = (r[i].attempt == IT(i).attempt || !GUARDED(FENCE)) &&
       (r[i].status == processing || (!GUARDED(ONE_END) && FINISHED(i)));
  known = (r[i].lease == w[me].lease && r[i].attempt == IT(i).attempt);
  if
  :: ok && (verdict == put_off || verdict == kept) ->
     r[i].lease = 0; r[i].place = due; r[i].over = (r[i].over || verdict == put_off);
     if
     :: lost -> IT(i).stage = decided; IT(i).verdict = verdict
     :: else -> put(i, settled, 0)
     fi
  :: ok && verdict != put_off && verdict != kept ->
     if
     :: IT(i).attempt != r[i].attempt ->
        if
        :: IT(i).attempt == 1 && r[i].attempt == 2 ->
           BROKEN("the verdict of attempt 1 is stored as that of attempt 2")
        :: else -> BROKEN("the verdict of one attempt is stored as that of another")
        fi
     :: else
     fi;
     if
     :: verdict == succeeded && r[i].sessions > 0 && GUARDED(ONE_SESSION) -> verdict = rejected
     :: else
     fi;
     if
     :: r[i].status == completed -> BROKEN("finish leads from completed to an end: no legal step")
     :: r[i].status == failed -> BROKEN("finish leads from failed to an end: no legal step")
     :: else
     fi;
     if
     :: verdict == succeeded -> r[i].status = completed; r[i].sessions++
     :: else -> r[i].status = failed
     fi;
     r[i].cancelled = (verdict == withdrawn);
     if
     :: r[i].place != nowhere && GUARDED(LOOKED_AT_LATER) -> r[i].place = due
     :: else -> r[i].place = nowhere
     fi;
     promised(i);
     if
     :: lost -> IT(i).stage = decided; IT(i).verdict = verdict; IT(i).done = true
     :: else -> answer(i, r[i].attempt)
     fi
  :: !ok && lost -> IT(i).stage = decided; IT(i).verdict = verdict
  :: !ok && !lost && verdict == withdrawn -> put(i, asked, 0)
  :: !ok && !lost && verdict != withdrawn && FINISHED(i) && (IT(i).done || known) && GUARDED(ENDED_MEANWHILE) ->
     answer(i, r[i].attempt)
  :: else -> put(i, settled, 0)
  fi;
  if
  :: GUARDED(CONFIRM_BEFORE_DONE)
  :: else -> release(true)
  fi;
  lost = false; ok = false; known = false; verdict = undecided
  }
}

inline claim() {
  maybe(ANSWER_LOST);
  d_step {
  printf("%c claims r%d\n", NAME, i + 1);
  if
  :: !IT(i).spent -> IT(i).stage = claimed
  :: IT(i).spent && (MINE || !GUARDED(LEASE_AT_CLAIM)) && (r[i].attempt == IT(i).attempt || !GUARDED(FENCE)) &&
     r[i].lease == w[me].lease && (r[i].status == pending || r[i].status == processing) ->
     if
     :: !r[i].over && !(IT(i).lost && GUARDED(NOTED_LOSS)) ->
        BROKEN("an attempt begins, and it is not on record why the last one failed")
     :: else
     fi;
     r[i].status = processing; r[i].attempt++; r[i].over = false;
     if
     :: lost -> IT(i).done = true
     :: else -> put(i, claimed, r[i].attempt)
     fi
  :: else ->
     if
     :: lost
     :: !lost && IT(i).done && r[i].attempt == IT(i).attempt + 1 && !FINISHED(i) && GUARDED(KNOWN_CLAIM) ->
        put(i, claimed, r[i].attempt)
     :: !lost && FINISHED(i) && r[i].lease == w[me].lease && !r[i].published -> put(i, to_publish, r[i].attempt)
     :: else -> drop(me, i)
     fi
  fi;
  lost = false
  }
}

/* What a worker does with request i of its batch */

inline goes_on() {
  if
  :: IT(i).stage == new || IT(i).stage == unknown ->
       maybe(ANSWER_LOST);
       d_step {
       printf("%c accepts r%d\n", NAME, i + 1);
       was = IT(i).stage;
       insert();
       if
       :: !ok -> leave(RUN_OUT)
       :: ok && !lost && was == unknown && IT(i).stage == claimed ->
          IT(i).stage = decided; IT(i).verdict = withdrawn
       :: ok && !lost && was == unknown && IT(i).stage != claimed -> put(i, asked, 0)
       :: else
       fi;
       lost = false; ok = false; known = false; was = nothing
       }
  :: IT(i).stage == new && r[i].status == no_row && CAN(HAS_TO_WAIT) ->
       left--; printf("%c puts r%d in line\n", NAME, i + 1);
       r[i].status = pending; r[i].place = in_line; put(i, settled, 0)
  :: d_step { IT(i).stage == asked ->
       printf("%c, to cancel r%d, reads\n", NAME, i + 1);
       if
       :: FINISHED(i) && r[i].cancelled && !r[i].published -> answer(i, r[i].attempt)
       :: FINISHED(i) && !(r[i].cancelled && !r[i].published) -> put(i, settled, 0)
       :: r[i].status == no_row -> put(i, unknown, 0)
       :: r[i].status == pending -> put(i, begun, 0)
       :: r[i].status == processing -> put(i, decided, r[i].attempt); IT(i).verdict = withdrawn
       fi }
  :: d_step { IT(i).stage == begun ->
       printf("%c, to cancel r%d, begins it\n", NAME, i + 1);
       if
       :: r[i].status == pending ->
          r[i].status = processing; r[i].attempt++;
          r[i].place = (GUARDED(LOOKED_AT_LATER) -> due : nowhere)
       :: else
       fi;
       put(i, decided, 1); IT(i).verdict = withdrawn }
  :: IT(i).stage == decided || IT(i).stage == claimed || (IT(i).stage == held && r[i].late && !IT(i).done) ->
       if
       :: IT(i).stage == decided -> verdict = IT(i).verdict
       :: else -> verdict = (r[i].late -> rejected : succeeded)
       fi;
       finish()
  :: IT(i).stage == claimed && CAN(REJECTED) ->
       left--; IT(i).stage = decided; IT(i).verdict = rejected
  :: IT(i).stage == claimed && CAN(PUT_OFF) ->
       left--; IT(i).stage = decided;
       if :: IT(i).verdict = put_off :: IT(i).verdict = kept fi
  :: IT(i).stage == held && (!r[i].late || IT(i).done) -> claim()
  :: IT(i).stage == held && !r[i].late && !IT(i).done && IT(i).lost && CAN(REJECTED) ->
       left--; IT(i).stage = decided; IT(i).verdict = rejected
  :: IT(i).stage == held && !r[i].late && !IT(i).done && CAN(PUT_OFF) ->
       left--; IT(i).stage = decided; IT(i).verdict = (IT(i).lost -> put_off : kept)
  :: IT(i).stage == to_publish ->
       if
       :: IT(i).anew -> BROKEN("a response is published that is not the one on record")
       :: else
       fi;
       maybe(CONFIRM_LOST);
       d_step {
       printf("%c publishes r%d\n", NAME, i + 1);
       r[i].owed = false;
       if
       :: lost
       :: else -> put(i, confirmed, IT(i).attempt)
       fi;
       lost = false
       }
  :: IT(i).stage == to_publish && IT(i).attempt > 0 && !r[i].published && CAN(REFUSED) ->
       left--; printf("%c publishes r%d (refused)\n", NAME, i + 1);
       r[i].waits = GUARDED(REFUSED_WAITS); put(i, settled, 0)
  :: d_step { IT(i).stage == confirmed ->
       printf("%c acknowledges r%d\n", NAME, i + 1); put(i, noted, 0); IT(i).loan = none }
  :: d_step { IT(i).stage == settled ->
       printf("%c acknowledges r%d\n", NAME, i + 1); drop(me, i) }
  fi
}

inline deliver() {
  begin_batch(deliveries);
  for (k : 0 .. 1) {
    if
    :: (m >> k) & 1 ->
       r[k].queued--; IT(k).stage = new;
       IT(k).loan = (GUARDED(RECORD_BEFORE_ACKNOWLEDGE) -> live : none)
    :: else
    fi
  }
  k = 0;
  printf("%c is delivered %d\n", NAME, m)
}

inline cancel(i) {
  begin_batch(cancellation);
  r[i].cancels--; IT(i).stage = asked; IT(i).loan = live;
  printf("%c is delivered the cancellation of r%d\n", NAME, i + 1)
}

inline publish_waiting(i) {
  r[i].owed = false; r[i].published = true; r[i].waits = false; r[i].place = nowhere; r[i].lease = 0;
  printf("%c publishes the waiting response of r%d\n", NAME, i + 1)
}

inline take_over() {
  if
  :: holder[n] == 3 - me -> left--; w[me].look = lost_one
  :: holder[n] == RUN_OUT -> w[me].look = lost_one
  :: holder[n] == FREE -> w[me].look = unharmed_one
  fi;
  printf("%c takes lease %d over\n", NAME, n);
  w[me].kind = taken; w[me].lease = n; holder[n] = me
}

active [2] proctype worker() {
  byte me = _pid + 1;
  byte n, k, m;
  byte i; /* the request that a step is about */
  bool lost, ok, known;
  mtype:stage was = nothing;
  mtype:verdict verdict = undecided;
  requests > 0; /* all is read from the environment */
end:
  do
  /* A batch begins */
  :: atomic { w[me].kind == idle && (QUEUED(0) || QUEUED(1)) ->
       if
       :: QUEUED(0) -> m = 1
       :: QUEUED(1) -> m = 2
       :: QUEUED(0) && QUEUED(1) -> m = 3
       fi;
       d_step { deliver(); m = 0 } }
  :: atomic { w[me].kind == idle && r[0].cancels > 0 -> d_step { cancel(0) } }
  :: atomic { w[me].kind == idle && r[1].cancels > 0 -> d_step { cancel(1) } }
  :: atomic { w[me].kind == idle && (IN_PLACE(0) || IN_PLACE(1)) -> /* due, or it is their turn */
       if
       :: IN_PLACE(0) -> m = 1
       :: IN_PLACE(1) -> m = 2
       :: IN_PLACE(0) && IN_PLACE(1) -> m = 3
       fi;
       take(); m = 0 }
  :: d_step { w[me].kind == idle && r[0].waits -> publish_waiting(0) }
  :: d_step { w[me].kind == idle && r[1].waits -> publish_waiting(1) }
  :: d_step { w[me].kind == idle && IS_DUE(0) && !FINISHED(0) && !r[0].late && CAN(HAS_TO_WAIT) ->
       left--; r[0].place = in_line; printf("%c puts r1 in line\n", NAME) }
  :: d_step { w[me].kind == idle && IS_DUE(1) && !FINISHED(1) && !r[1].late && CAN(HAS_TO_WAIT) ->
       left--; r[1].place = in_line; printf("%c puts r2 in line\n", NAME) }
  :: atomic { w[me].kind == idle &&
              (SILENT(1) || SILENT(2) || SILENT(3) || SILENT(4) || SILENT(5) || SILENT(6) || SILENT(7)) ->
       if
       :: SILENT(1) -> n = 1
       :: SILENT(2) -> n = 2
       :: SILENT(3) -> n = 3
       :: SILENT(4) -> n = 4
       :: SILENT(5) -> n = 5
       :: SILENT(6) -> n = 6
       :: SILENT(7) -> n = 7
       fi;
       d_step { take_over(); n = 0 } }
  /* and goes on */
  :: d_step { w[me].look != looked ->
       printf("%c looks what the lease holds\n", NAME);
       read_lease(0, w[me].look); read_lease(1, w[me].look);
       w[me].look = looked;
       if
       :: EMPTY -> release(GUARDED(OWN_RELEASE)); end_batch()
       :: else
       fi }
  :: atomic { w[me].look == looked && (OPEN(0) || OPEN(1)) ->
       if
       :: OPEN(0) -> i = 0
       :: OPEN(1) -> i = 1
       fi;
       goes_on();
       i = 0 }
  :: d_step { w[me].kind != idle && w[me].look == looked && !OPEN(0) && !OPEN(1) ->
       printf("%c notes that its batch is done\n", NAME);
       for (k : 0 .. 1) {
         if
         :: IT(k).stage == noted && FINISHED(k) ->
            r[k].published = true; r[k].waits = false; r[k].place = nowhere; r[k].lease = 0
         :: else
         fi
       }
       k = 0;
       release(GUARDED(OWN_RELEASE)); end_batch() }
  /* or ends */
  :: d_step { w[me].kind != idle && CAN(DIES) -> left--; printf("%c dies\n", NAME); leave(RUN_OUT) }
  :: d_step { w[me].kind != idle && CAN(STOPS) -> left--; printf("%c stops\n", NAME); leave(FREE) }
  :: d_step { (IT(0).loan == live || IT(1).loan == live) && CAN(LOSES_ITS_CHANNEL) ->
       left--; printf("%c loses its channel\n", NAME); give_back(0, stale); give_back(1, stale) }
  od
}

#define OLD(i) (r[i].published || (!GUARDED(FINISHED_ONLY) && r[i].status != no_row))
#define ON_ITS_WAY(i) \
  (r[i].queued || r[i].cancels || w[1].item[i].stage != nothing || w[2].item[i].stage != nothing || \
   w[1].look != looked || w[2].look != looked)

/* What people, time and the services do to request i. */
active [2] proctype people() {
  byte i = _pid - 2;
end_of_none:
  i < requests;
end:
  do
  :: d_step { CAN(SENT_AGAIN) && r[i].queued < 2 ->
       left--; r[i].queued++; r[i].owed = true; printf("r%d sent again\n", i + 1) }
  :: d_step { CAN(CANCELLED) && r[i].cancels == 0 -> left--; r[i].cancels = 1; printf("r%d cancelled\n", i + 1) }
  :: d_step { CAN(LATE) && !r[i].late -> left--; r[i].late = true; printf("r%d late\n", i + 1) }
  :: d_step { CAN(DELETED_AS_OLD) && OLD(i) && !ON_ITS_WAY(i) ->
       left--; printf("r%d deleted as old\n", i + 1);
       if
       :: r[i].status == pending -> BROKEN("retire_requests leads from pending to (gone): no legal step")
       :: r[i].status == processing -> BROKEN("retire_requests leads from processing to (gone): no legal step")
       :: else
       fi;
       r[i].former = (r[i].sessions > 0);
       r[i].status = no_row; r[i].attempt = 0; r[i].over = false; r[i].place = nowhere; r[i].lease = 0;
       r[i].published = false; r[i].waits = false; r[i].cancelled = false; r[i].late = false }
  od
}

/* At the end, when nothing more can happen: what has to be true. */
active proctype world() {
  d_step {
    c_code {
      now.without = atoi(getenv("WITHOUT"));
      now.can = atoi(getenv("CAN"));
      now.noted_too = atoi(getenv("NOTED"));
      now.left = atoi(getenv("FAULTS"));
      now.requests = atoi(getenv("REQUESTS"));
    };
    r[0].queued = 1; r[0].owed = true;
    if
    :: requests == 2 -> r[1].queued = 1; r[1].owed = true
    :: requests == 3 -> requests = 2; /* begins in the midst: r1 and r2 were delivered to A, which has accepted r1; B takes its lease over */
       r[0].queued = 0; r[0].status = processing; r[0].attempt = 1; r[0].lease = 1; r[1].owed = true;
       w[1].kind = deliveries; w[1].lease = 1;
       w[1].item[0].stage = claimed; w[1].item[0].attempt = 1; w[1].item[1].stage = new;
       w[1].item[0].loan = live; w[1].item[1].loan = live;
       w[2].kind = taken; w[2].lease = 1; w[2].look = lost_one; holder[1] = 2; left = left - 2
    :: else
    fi
  };
  do
  :: atomic { left > 0 -> left = 0; printf("no more faults\n") }
  :: atomic { timeout ->
       if
       :: !ANSWERED(0) || !ANSWERED(1) -> BROKEN("a request is never answered")
       :: else
       fi;
       if
       :: noted_too && ((FINISHED(0) && !r[0].published) || (FINISHED(1) && !r[1].published)) ->
          BROKEN("it is never noted that a response was published")
       :: else
       fi;
       break }
  od
}
