//! What may be asked for as a volume's limits. One rule for every protocol: the figures that every gp3 volume begins
//! with stand for no limit. A volume without one is shown with them where a figure must be shown, and clients send them
//! back without being asked (Terraform's `aws_ebs_volume` with each change).

use std::ops::RangeInclusive;

use tepui_types::agent::IoLimits;

use crate::Error;

/// Operations a second that stand for no limit.
pub const USUAL_IOPS: u32 = 3000;
/// MiB a second that stand for no limit.
pub const USUAL_THROUGHPUT_MIB: u32 = 125;

/// To the most that AWS has (EC2 API reference, "CreateVolume"), from less than it has: disks of a private cloud may be
/// slower.
const IOPS: RangeInclusive<u32> = 100..=80_000;
const THROUGHPUT_MIB: RangeInclusive<u32> = 1..=2000;

/// What these figures stand for; one that was not asked for is no limit.
pub(crate) fn io_limits(iops: Option<u32>, throughput_mib: Option<u32>) -> Result<IoLimits, Error> {
    Ok(IoLimits {
        iops: iops.map_or(Ok(0), iops_limit)?,
        throughput_mib: throughput_mib.map_or(Ok(0), throughput_limit)?,
    })
}

/// Operations a second; 0 is no limit.
pub(crate) fn iops_limit(asked: u32) -> Result<u32, Error> {
    limit("iops", asked, (IOPS, "", USUAL_IOPS))
}

/// MiB a second; 0 is no limit.
pub(crate) fn throughput_limit(asked: u32) -> Result<u32, Error> {
    limit("throughput", asked, (THROUGHPUT_MIB, " MiB/s", USUAL_THROUGHPUT_MIB))
}

fn limit(
    field: &'static str,
    asked: u32,
    (range, unit, usual): (RangeInclusive<u32>, &str, u32),
) -> Result<u32, Error> {
    if asked == usual {
        return Ok(0);
    }
    if !range.contains(&asked) {
        let (least, most) = range.into_inner();
        return Err(Error::invalid(field, asked, format!("is {least} to {most}{unit}; {usual} is no limit")));
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_limits_within_their_bounds_and_the_usual_ones_are_none() {
        let of = |iops, throughput_mib| io_limits(iops, throughput_mib).unwrap();
        assert_eq!(of(None, None), IoLimits::NONE);
        assert_eq!(of(Some(3000), Some(125)), IoLimits::NONE);
        assert_eq!(of(Some(100), None), IoLimits { iops: 100, throughput_mib: 0 });
        assert_eq!(of(Some(80_000), Some(1)), IoLimits { iops: 80_000, throughput_mib: 1 });
        assert_eq!(of(Some(3001), Some(2000)), IoLimits { iops: 3001, throughput_mib: 2000 });
        let refused = |iops, throughput_mib| io_limits(iops, throughput_mib).unwrap_err().to_string();
        for iops in [0, 99, 80_001, u32::MAX] {
            let words = format!("iops '{iops}': is 100 to 80000; 3000 is no limit");
            assert_eq!(refused(Some(iops), None), words);
        }
        for throughput in [0, 2001] {
            let words = format!("throughput '{throughput}': is 1 to 2000 MiB/s; 125 is no limit");
            assert_eq!(refused(Some(100), Some(throughput)), words);
        }
    }
}
