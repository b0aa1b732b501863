/**
 * The texts that all pages share, in English and in Korean. Families add theirs (see i18n.js).
 * @module common-texts
 */

/** @type {Object<string, [string, string]>} */
export const COMMON_TEXTS = {
  "page.skip": ["Skip to the content", "본문으로 건너뛰기"],
  "page.pages": ["Pages", "페이지"],
  "page.language": ["Language", "언어"],
  "page.loading": ["Loading …", "불러오는 중…"],
  "page.health": ["Health", "상태"],
  "page.docs": ["API", "API"],

  "unit.ms": ["{value} ms", "{value}ms"],

  "error.unreachable": ["The server does not answer.", "서버가 응답하지 않습니다."],
  "error.login": [
    "You are not logged in to Airflow any more. Log in and open this page again.",
    "Airflow 로그인이 끊겼습니다. 다시 로그인한 뒤 이 페이지를 여세요.",
  ],
  "error.forbidden": [
    "You do not have the permission for this in Airflow.",
    "Airflow에서 이 작업에 대한 권한이 없습니다.",
  ],
  "error.notJson": ["The server's answer cannot be read.", "서버의 응답을 읽을 수 없습니다."],

  "chart.noLibrary": [
    "The charts cannot be shown: their library could not be loaded.",
    "차트 라이브러리를 불러오지 못해 차트를 표시할 수 없습니다.",
  ],

  "health.title": ["Health", "서비스 상태"],
  "health.at": ["As of {time}, renewed every 10 seconds", "{time} 기준, 10초마다 갱신"],

  "loops.title": ["Live loops", "실시간 루프"],
  "loops.loop": ["Loop", "루프"],
  "loops.state": ["State", "상태"],
  "loops.lastTick": ["Last tick", "마지막 틱"],
  "loops.lastSuccess": ["Last good tick", "마지막 정상 틱"],
  "loops.lag": ["Lag", "지연"],
  "loops.duration": ["Duration", "소요 시간"],
  "loops.rate": ["Rate", "처리량"],
  "loops.failures": ["Failures", "실패"],
  "loops.ticks": ["Good ticks", "정상 틱"],
  "loops.holder": ["Lease holder", "임대 보유자"],
  "loops.links": ["In Airflow", "Airflow"],
  "loops.rows": ["{rows} per tick", "틱당 {rows}건"],
  "loops.rowsPerSecond": ["{rows} new rows per second", "초당 새 행 {rows}건"],
  "loops.rowsRead": ["{rows} rows read", "읽은 행 {rows}건"],
  "loops.leftOut": ["Left out", "제외됨"],
  "loops.leftOutRows": ["{rows} rows", "{rows}건"],
  "loops.outOfRange": ["values: {list}", "값: {list}"],
  "loops.replacedKeys": ["Keys of a wrong type in Valkey, replaced since this copy began: {keys}. The task's log names them.", "Valkey에서 형식이 잘못되어 교체된 키(이 실행 시작 이후): {keys}개. 태스크 로그에 이름이 있습니다."],
  "loops.heldUp": ["Its newest tick was late because {loop} blocked the thread of all loops for {duration}.", "{loop} 루프가 모든 루프의 스레드를 {duration} 동안 차단하여 최근 틱이 늦었습니다."],
  "loops.why.paused": ["The DAG is paused: unpause it on its page.", "DAG가 일시 중지되어 있습니다. DAG 페이지에서 해제하세요."],
  "loops.why.noTriggerer": ["No triggerer is alive: start one.", "살아 있는 트리거러가 없습니다. 트리거러를 시작하세요."],
  "loops.why.noScheduler": ["The scheduler is not alive: no run starts.", "스케줄러가 동작하지 않아 실행이 시작되지 않습니다."],
  "loops.why.noDag": ["Airflow does not know the DAG: its file has an error, or was not read yet.", "Airflow에 이 DAG가 없습니다. 파일에 오류가 있거나 아직 읽히지 않았습니다."],
  "loops.why.noRun": ["The DAG has no run that is at work.", "진행 중인 DAG 실행이 없습니다."],
  "loops.why.failed": ["Its newest run failed.", "최근 실행이 실패했습니다."],
  "loops.why.queued": ["Its newest run is queued: no slot, or no scheduler.", "최근 실행이 대기 중입니다. 슬롯이나 스케줄러를 확인하세요."],
  "loops.why.waits": ["Its run is at work, but does not tick: the run's task and log say why.", "실행 중이지만 틱이 없습니다. 실행의 태스크와 로그를 확인하세요."],
  "loops.period": ["every {period}", "{period}마다"],
  "loops.inARow": ["{count} in a row", "연속 {count}회"],
  "loops.skipped": ["skipped: {count}", "건너뜀: {count}"],

  "loopState.ok": ["works", "정상"],
  "loopState.stale": ["stale", "멈춤"],
  "loopState.failing": ["fails", "실패 중"],
  "loopState.late": ["late", "지연"],
  "loopState.blocking": ["blocks others", "다른 루프 차단"],
  "loopState.never": ["not seen", "기록 없음"],
  "loopState.clock": ["clock differs", "시계 불일치"],

  "links.dag": ["DAG", "DAG"],
  "links.run": ["Run", "실행"],
  "links.log": ["Task and log", "태스크와 로그"],
  "links.taskLog": ["Log of {task}", "{task} 로그"],

  "docs.title": ["API", "API"],
  "docs.raw": ["The OpenAPI document", "OpenAPI 문서"],
  "docs.failed": ["The description of the API cannot be loaded.", "API 설명을 불러올 수 없습니다."],
  "docs.contents": ["Routes", "경로"],
  "docs.parameters": ["Parameters", "매개변수"],
  "docs.answers": ["Answers", "응답"],
  "docs.fields": ["Fields of answer {status}", "응답 {status}의 필드"],
  "docs.name": ["Name", "이름"],
  "docs.place": ["In", "위치"],
  "docs.type": ["Type", "형식"],
  "docs.required": ["Required", "필수"],
  "docs.always": ["Always there", "항상 있음"],
  "docs.description": ["Description", "설명"],
  "docs.yes": ["yes", "예"],
  "docs.no": ["no", "아니요"],
};
