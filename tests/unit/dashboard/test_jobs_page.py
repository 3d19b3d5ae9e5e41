from tests.unit.dashboard.conftest import Board


def test_the_list_shows_open_jobs(board: Board) -> None:
    job = board.job()
    answer = board.browser().get("/jobs")
    assert answer.status_code == 200
    assert job.job_id in answer.text
